//! Hashing and verifying passwords with argon2id, off the async threads and bounded in number.
//!
//! Parameters: 46 MiB, one pass, one lane, which OWASP's cheat sheet and ASVS 5 (appendix C) both
//! accept. A hash takes about a tenth of a second and 46 MiB, so only a few run at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use argon2::{Algorithm, Argon2, Params, Version};
use password_hash::phc::PasswordHash;
use password_hash::{PasswordHasher, PasswordVerifier};
use tokio::sync::Semaphore;
use usher_domain::secret::Secret;

use crate::error::Error;
use crate::random;

const MEMORY_KIB: u32 = 46 * 1024;
const PASSES: u32 = 1;
const LANES: u32 = 1;
/// More than this many waiting are turned away.
const WAITING_MAX: usize = 64;

/// Hashes and verifies.
pub struct Passwords {
    argon2: Argon2<'static>,
    at_once: Arc<Semaphore>,
    waiting: AtomicUsize,
    /// A hash of a password that nobody has, verified when there is none, so that an unknown address
    /// costs as much as a known one.
    nobody: Arc<str>,
}

impl Passwords {
    /// # Errors
    /// When the operating system has no randomness to give.
    pub fn new(at_once: usize) -> Result<Self, Error> {
        let failed = |e: &dyn std::fmt::Display| Error::Internal(format!("argon2: {e}"));
        let params = Params::new(MEMORY_KIB, PASSES, LANES, None).map_err(|e| failed(&e))?;
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let nobody =
            argon2.hash_password(random::token()?.expose().as_bytes()).map_err(|e| failed(&e))?.to_string();
        Ok(Self {
            argon2,
            at_once: Arc::new(Semaphore::new(at_once.max(1))),
            waiting: AtomicUsize::new(0),
            nobody: nobody.into(),
        })
    }

    /// How many wait for their turn.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// The PHC string of a new password.
    ///
    /// # Errors
    /// `Overloaded`.
    pub async fn hash(&self, password: Secret<String>) -> Result<Secret<String>, Error> {
        let argon2 = self.argon2.clone();
        self.run(move || {
            let hash = argon2.hash_password(password.expose().as_bytes());
            hash.map(|hash| Secret::new(hash.to_string()))
                .map_err(|e| Error::Internal(format!("argon2: {e}")))
        })
        .await?
    }

    /// Whether the password is the one of the hash. Without a hash it takes as long and is not.
    ///
    /// # Errors
    /// `Overloaded`; a stored hash that cannot be read.
    pub async fn verify(
        &self,
        password: Secret<String>,
        hash: Option<Secret<String>>,
    ) -> Result<bool, Error> {
        let argon2 = self.argon2.clone();
        let nobody = self.nobody.clone();
        self.run(move || {
            let is_somebody = hash.is_some();
            let hash = hash.map_or_else(|| nobody.to_string(), Secret::into_exposed);
            let parsed = PasswordHash::new(&hash)
                .map_err(|e| Error::Internal(format!("a stored password hash cannot be read: {e}")))?;
            let matches = argon2.verify_password(password.expose().as_bytes(), &parsed).is_ok();
            Ok(matches && is_somebody)
        })
        .await?
    }

    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
        let waiting = Waiting::enter(&self.waiting)?;
        let turn = self.at_once.clone().acquire_owned().await.map_err(|e| Error::Internal(e.to_string()))?;
        drop(waiting);
        let done = tokio::task::spawn_blocking(move || {
            // Held by the work itself: a caller that goes away frees no place that is still in use.
            let _turn = turn;
            work()
        });
        done.await.map_err(|e| Error::Internal(format!("argon2: {e}")))
    }
}

struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn enter(count: &'a AtomicUsize) -> Result<Self, Error> {
        let before = count.fetch_add(1, Ordering::Relaxed);
        let entered = Self(count);
        if before >= WAITING_MAX { Err(Error::Overloaded) } else { Ok(entered) }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Secret<String> {
        Secret::new(text.to_owned())
    }

    #[tokio::test]
    async fn only_the_right_password_of_somebody_matches() {
        let passwords = Passwords::new(2).unwrap();
        let hash = passwords.hash(secret("gravel orbit lantern")).await.unwrap();
        assert!(hash.expose().starts_with("$argon2id$v=19$m=47104,t=1,p=1$"), "{}", hash.expose());
        assert!(passwords.verify(secret("gravel orbit lantern"), Some(hash.clone())).await.unwrap());
        assert!(!passwords.verify(secret("gravel orbit lanterns"), Some(hash)).await.unwrap());
        assert!(!passwords.verify(secret("gravel orbit lantern"), None).await.unwrap());
    }

    #[tokio::test]
    async fn too_many_are_turned_away() {
        let passwords = Arc::new(Passwords::new(1).unwrap());
        let tries = (0..WAITING_MAX + 20).map(|_| {
            let passwords = passwords.clone();
            tokio::spawn(async move { passwords.verify(secret("x"), None).await })
        });
        let done = futures::future::join_all(tries).await;
        let refused = done.into_iter().filter(|done| matches!(done, Ok(Err(Error::Overloaded)))).count();
        assert!(refused >= 1, "some must be turned away");
    }
}

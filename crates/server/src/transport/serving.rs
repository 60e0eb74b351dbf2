//! The threads that serve.
//!
//! Each has a runtime of its own and serves whole connections: a connection, its calls and their
//! answers from memory never leave their thread. hyper makes a task of every call; tokio's
//! multi-thread scheduler runs the task that was woken last next and so writes after every answer,
//! where one thread finishes all calls that came together and answers them with one write. The
//! README has the figures.
//!
//! One listener feeds all of them, each connection going to the thread with the fewest. SO_REUSEPORT
//! would let the kernel draw lots (of two connections both often land on one thread), resets what
//! waits in the queue of a thread that ends, and lets a second server start on the same port unseen.
//!
//! Nothing here may wait for long or compute for long: use cases, the database, mails and passwords
//! belong to the other runtime, the one that starts these threads. Its own threads [step behind] these,
//! or a hash of a password would keep checks waiting for as long as the kernel's time slices are.
//!
//! [step behind]: step_behind

use std::future::Future;
use std::io;
use std::thread;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::accept::{Arrivals, Door, Incoming, Listen};

/// The running threads. They end when what they run does, when they are cut, or when one fails.
pub struct Serving {
    ends: Vec<oneshot::Receiver<Result<(), String>>>,
    cut: CancellationToken,
}

/// How much nicer than the threads that serve the others are: about a tenth of a core is left to them
/// where all are busy, which the poll and changes need.
const NICER: i32 = 10;

/// Lets the threads that serve go first on a busy core; for the calling thread, and those that it
/// starts.
pub fn step_behind() {
    // Linux counts niceness by thread. Where it may not be changed, checks wait a little longer.
    let _ = rustix::process::nice(NICER);
}

/// One for each core that this process may use.
pub fn threads_default() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

impl Serving {
    /// Starts `threads`, each of which runs `serve` on its share of the listener's connections.
    ///
    /// # Errors
    /// When the operating system gives no more threads.
    pub fn start<F, E>(
        threads: usize,
        door: &Door,
        listener: impl Listen,
        serve: impl Fn(Incoming) -> F + Clone + Send + 'static,
    ) -> io::Result<Self>
    where
        F: Future<Output = Result<(), E>>,
        E: std::error::Error,
    {
        let cut = CancellationToken::new();
        let mut ends = Vec::with_capacity(threads);
        for (number, arrivals) in door.share(listener, threads).into_iter().enumerate() {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            let (said, end) = oneshot::channel();
            let (door, serve, cut) = (door.clone(), serve.clone(), cut.clone());
            let run = move || {
                // Whoever waits may have gone.
                let _ = said.send(run(runtime, &door, arrivals, serve, &cut));
            };
            thread::Builder::new().name(format!("serve-{number}")).spawn(run)?;
            ends.push(end);
        }
        Ok(Self { ends, cut })
    }

    /// Cuts every connection when it is cancelled.
    pub fn cut(&self) -> CancellationToken {
        self.cut.clone()
    }

    /// Waits until all have ended.
    ///
    /// # Errors
    /// Why one failed.
    pub async fn ended(self) -> Result<(), String> {
        let ends = self.ends.into_iter().map(async |end| {
            let ended = end.await.unwrap_or_else(|_| Err("a thread that serves panicked".to_owned()));
            // One alone cannot be spared: what arrives for it would wait for ever.
            ended.inspect_err(|_| self.cut.cancel())
        });
        futures::future::join_all(ends).await.into_iter().collect()
    }
}

fn run<F, E>(
    runtime: Runtime,
    door: &Door,
    arrivals: Arrivals,
    serve: impl Fn(Incoming) -> F,
    cut: &CancellationToken,
) -> Result<(), String>
where
    F: Future<Output = Result<(), E>>,
    E: std::error::Error,
{
    let ended = runtime.block_on(async {
        tokio::select! {
            served = serve(door.admit(arrivals)) => served.map_err(|error| error.to_string()),
            () = cut.cancelled() => Ok(()),
        }
    });
    // With it go the connections that are still open.
    runtime.shutdown_background();
    ended
}

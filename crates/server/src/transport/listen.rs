//! Where a server without caller authentication may listen.

use std::net::SocketAddr;

/// Something that the operator should read at the start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning(pub String);

/// The loopback rule: without proof of who calls, only this machine may call, unless the operator
/// insists.
///
/// # Errors
/// When `addr` can be reached from outside, nobody has to prove anything and `insecure` is not set.
pub fn check_listen(
    addr: SocketAddr,
    authenticated: bool,
    insecure: bool,
) -> Result<Option<Warning>, String> {
    let loopback = addr.ip().to_canonical().is_loopback();
    match (authenticated, loopback, insecure) {
        (true, ..) => Ok(None),
        (false, true, _) => Ok(Some(Warning(
            "no callers are configured: every process on this machine may do everything".to_owned(),
        ))),
        (false, false, true) => Ok(Some(Warning(format!(
            "no callers are configured and `{addr}` is not loopback: whoever reaches it may do everything"
        )))),
        (false, false, false) => Err(format!(
            "no callers are configured, so `{addr}` would let whoever reaches it do everything: \
             configure callers, listen on 127.0.0.1, or insist with `--insecure`"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_callers_only_loopback_is_served() {
        for (addr, loopback) in [
            ("127.0.0.1:1", true),
            ("127.8.8.8:1", true),
            ("[::1]:1", true),
            ("[::ffff:127.0.0.1]:1", true),
            ("0.0.0.0:1", false),
            ("[::]:1", false),
            ("10.0.0.1:1", false),
            ("[::ffff:10.0.0.1]:1", false),
        ] {
            let addr = addr.parse().unwrap();
            assert_eq!(check_listen(addr, true, false), Ok(None), "{addr}");
            assert!(check_listen(addr, false, true).unwrap().is_some(), "{addr}");
            assert_eq!(check_listen(addr, false, false).is_ok(), loopback, "{addr}");
        }
    }
}

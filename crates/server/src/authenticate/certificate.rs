//! The names in a client certificate. rustls has verified the chain before anybody gets here.

use std::collections::HashMap;

use rustls_pki_types::CertificateDer;
use x509_parser::extensions::GeneralName;

/// Which caller a certificate proves, by SPIFFE id or DNS name, compared exactly. A certificate
/// that names two callers proves none, and neither does one with more than one URI, as the SPIFFE
/// X.509-SVID standard (section 2) has it. The common name is not looked at.
pub(super) fn caller_of(
    certificate: &CertificateDer<'_>,
    by_spiffe: &HashMap<String, usize>,
    by_dns: &HashMap<String, usize>,
) -> Option<usize> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let names = &parsed.subject_alternative_name().ok()??.value.general_names;
    let mut uris = Vec::new();
    let mut callers: Vec<&usize> = Vec::new();
    for name in names {
        match name {
            GeneralName::URI(uri) => uris.push(*uri),
            GeneralName::DNSName(dns) => callers.extend(by_dns.get(&dns.to_ascii_lowercase())),
            _ => {}
        }
    }
    match uris[..] {
        [] => {}
        [uri] => callers.extend(by_spiffe.get(uri)),
        _ => return None,
    }
    callers.sort_unstable();
    callers.dedup();
    match callers[..] {
        [caller] => Some(*caller),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair, SanType};

    fn caller(names: &[&str]) -> Option<usize> {
        let mut params = CertificateParams::default();
        params.subject_alt_names = names
            .iter()
            .map(|name| match name.contains("://") {
                true => SanType::URI((*name).try_into().unwrap()),
                false => SanType::DnsName((*name).try_into().unwrap()),
            })
            .collect();
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let spiffe = HashMap::from([("spiffe://etl/gateway".to_owned(), 1)]);
        let dns = HashMap::from([("gateway.etl".to_owned(), 1), ("billing.etl".to_owned(), 2)]);
        caller_of(certificate.der(), &spiffe, &dns)
    }

    #[test]
    fn names_match_exactly_or_not_at_all() {
        assert_eq!(caller(&["spiffe://etl/gateway"]), Some(1));
        assert_eq!(caller(&["gateway.etl"]), Some(1));
        assert_eq!(caller(&["GATEWAY.etl"]), Some(1));
        assert_eq!(caller(&["spiffe://etl/gateway", "gateway.etl", "elsewhere"]), Some(1));
        assert_eq!(caller(&[]), None);
        assert_eq!(caller(&["spiffe://etl/gateway/x"]), None);
        assert_eq!(caller(&["spiffe://ETL/gateway"]), None);
        assert_eq!(caller(&["*.etl"]), None);
        assert_eq!(caller(&["x.gateway.etl"]), None);
    }

    #[test]
    fn a_certificate_of_two_callers_or_two_uris_proves_none() {
        assert_eq!(caller(&["gateway.etl", "billing.etl"]), None);
        assert_eq!(caller(&["spiffe://etl/gateway", "billing.etl"]), None);
        assert_eq!(caller(&["spiffe://etl/gateway", "spiffe://etl/other"]), None);
    }
}

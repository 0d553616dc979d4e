//! The resolver against a server that says what it is told.

use hickory_resolver::proto::rr::RecordType;

use super::*;
use crate::outbound::dns_server::{Reply, Server};

fn dns(server: &Server) -> Dns {
    Dns::new(Some(server.address.to_string().parse().unwrap()))
}

#[tokio::test]
async fn a_name_has_its_addresses_of_both_kinds() {
    let server = Server::start();
    let v6 = Reply::Addresses(vec!["2001:db8::1".parse().unwrap()]);
    server.leads("hooks.example", &["192.0.2.1"]);
    server.says("hooks.example", RecordType::AAAA, &[v6]);
    let mut found = dns(&server).addresses("hooks.example").await.unwrap();
    found.sort();
    assert_eq!(found, ["192.0.2.1", "2001:db8::1"].map(|text| text.parse::<IpAddr>().unwrap()));
}

#[tokio::test]
async fn no_is_told_from_nobody_could_say() {
    let server = Server::start();
    server.says("empty.example", RecordType::A, &[Reply::Nothing]);
    for kind in [RecordType::A, RecordType::AAAA] {
        server.says("broken.example", kind, &[Reply::Fault]);
    }
    let dns = dns(&server);
    for name in ["gone.example", "empty.example"] {
        assert_eq!(dns.addresses(name).await, Err(DnsError::NoSuchName), "{name}");
    }
    let broken = dns.addresses("broken.example").await;
    assert!(matches!(broken, Err(DnsError::CouldNotAsk { .. })), "{broken:?}");
    for kind in [RecordType::A, RecordType::AAAA] {
        server.says("silent.example", kind, &[Reply::Silence]);
    }
    let silent = dns.addresses("silent.example").await;
    assert!(matches!(silent, Err(DnsError::CouldNotAsk { .. })), "{silent:?}");
}

#[tokio::test]
async fn a_domain_takes_mail_or_says_why_not() {
    let server = Server::start();
    server.says("servers.example", RecordType::MX, &[Reply::Mail(vec!["mx.example."])]);
    server.says("null.example", RecordType::MX, &[Reply::Mail(vec!["."])]);
    server.leads("null.example", &["192.0.2.1"]);
    server.leads("address.example", &["192.0.2.1"]);
    server.says("neither.example", RecordType::TXT, &[Reply::Nothing]);
    server.leads("xn--bcher-kva.example", &["192.0.2.1"]);
    let dns = dns(&server);
    for (domain, takes) in [
        ("servers.example", MailDomain::Servers),
        ("SERVERS.example.", MailDomain::Servers),
        ("null.example", MailDomain::No(NoMail::NullMx)),
        ("address.example", MailDomain::Address),
        ("bücher.example", MailDomain::Address),
        ("neither.example", MailDomain::No(NoMail::NoServer)),
        ("gone.example", MailDomain::No(NoMail::NoSuchDomain)),
        ("", MailDomain::No(NoMail::NotADomain)),
        ("no domain", MailDomain::No(NoMail::NotADomain)),
        ("127.0.0.1", MailDomain::No(NoMail::NotADomain)),
    ] {
        assert_eq!(dns.takes_mail(domain).await, Ok(takes), "{domain}");
    }
}

#[tokio::test]
async fn a_server_with_a_fault_says_nothing_of_a_domain() {
    let server = Server::start();
    server.says("broken.example", RecordType::MX, &[Reply::Fault]);
    server.says("half.example", RecordType::MX, &[Reply::Nothing]);
    for kind in [RecordType::A, RecordType::AAAA] {
        server.says("half.example", kind, &[Reply::Fault]);
    }
    for domain in ["broken.example", "half.example"] {
        let answer = dns(&server).takes_mail(domain).await;
        assert!(matches!(answer, Err(DnsError::CouldNotAsk { .. })), "{domain}: {answer:?}");
    }
}

#[test]
fn a_server_is_an_address_with_a_port_or_without() {
    for (text, address) in [
        ("10.0.0.2", "10.0.0.2:53"),
        ("127.0.0.1:5353", "127.0.0.1:5353"),
        ("::1", "[::1]:53"),
        ("[::1]:5353", "[::1]:5353"),
    ] {
        assert_eq!(text.parse::<DnsServer>().unwrap().to_string(), address);
    }
    for text in ["", "dns.example", "10.0.0.2:dns", "10.0.0.2:65536"] {
        assert_eq!(text.parse::<DnsServer>(), Err(InvalidDnsServer), "{text}");
    }
}

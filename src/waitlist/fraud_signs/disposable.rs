//! Domains of throw-away addresses. The only home of `disposable_emails`.
//!
//! The crate's list gathers what others have listed. It is long, and it holds mail systems with
//! millions of users and services that pass mail on to somebody's own address: those that are
//! known are let through here, and its word alone blocks nobody (`fake_email.rs`). The few that
//! everybody knows to give an address to anyone for an hour stand here by themselves.

use super::address::suffixes;

/// Known to give addresses away that anybody can read, or that end within the hour.
const WELL_KNOWN: &[&str] = &[
    "10minutemail.com",
    "10minutemail.net",
    "20minutemail.com",
    "dispostable.com",
    "dropmail.me",
    "emailfake.com",
    "emailondeck.com",
    "fakeinbox.com",
    "fakemail.net",
    "generator.email",
    "getairmail.com",
    "getnada.com",
    "grr.la",
    "guerrillamail.biz",
    "guerrillamail.com",
    "guerrillamail.de",
    "guerrillamail.info",
    "guerrillamail.net",
    "guerrillamail.org",
    "guerrillamailblock.com",
    "inboxkitten.com",
    "mailcatch.com",
    "maildrop.cc",
    "mailinator.com",
    "mailinator.net",
    "mailnesia.com",
    "mailsac.com",
    "mintemail.com",
    "mohmal.com",
    "mytemp.email",
    "sharklasers.com",
    "spam4.me",
    "temp-mail.io",
    "temp-mail.org",
    "tempail.com",
    "tempmail.com",
    "tempmailo.com",
    "throwawaymail.com",
    "trashmail.com",
    "yopmail.com",
    "yopmail.fr",
    "yopmail.net",
];

/// On the list, and no throw-away addresses: mail goes on to a person's own mailbox, which the
/// service hides.
const RELAYS: &[&str] = &[
    "33mail.com",
    "8alias.com",
    "8shield.net",
    "addy.io",
    "aleeas.com",
    "anonaddy.com",
    "anonaddy.me",
    "dralias.com",
    "duck.com",
    "erine.email",
    "forwardemail.net",
    "maskmail.net",
    "mozmail.com",
    "passfwd.com",
    "passinbox.com",
    "passmail.com",
    "passmail.net",
    "privaterelay.appleid.com",
    "relay.firefox.com",
    "silomails.com",
    "simplelogin.co",
    "simplelogin.com",
    "simplelogin.fr",
    "slmail.me",
    "slmails.com",
];

/// On the list, and people's ordinary mail systems.
const ORDINARY: &[&str] = &[
    "21cn.com",
    "airmail.cc",
    "amorki.pl",
    "autograf.pl",
    "buziaczek.pl",
    "consultant.com",
    "dr.com",
    "firemail.cc",
    "freemail.hu",
    "hush.com",
    "keemail.me",
    "mail.by",
    "myself.com",
    "onet.eu",
    "onet.pl",
    "op.pl",
    "sdf.org",
    "sify.com",
    "sohu.com",
    "spoko.pl",
    "techie.com",
    "tom.com",
    "vp.pl",
    "writeme.com",
];

/// What is known of a domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Disposable {
    /// Everybody knows it.
    WellKnown(String),
    /// The crate's list has it.
    Listed(String),
}

/// Whether addresses of this domain, in lower case, are throw-away ones; a domain that is part of
/// one that is listed is as well.
pub(super) fn look_up(domain: &str) -> Option<Disposable> {
    let is_in = |list: &[&str]| suffixes(domain).any(|suffix| list.contains(&suffix));
    if let Some(known) = suffixes(domain).find(|suffix| WELL_KNOWN.contains(suffix)) {
        return Some(Disposable::WellKnown(known.to_owned()));
    }
    if is_in(RELAYS) || is_in(ORDINARY) {
        return None;
    }
    suffixes(domain)
        .find(|suffix| disposable_emails::is_disposable_domain(suffix))
        .map(|listed| Disposable::Listed(listed.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn throw_away_domains_are_known_and_so_are_those_below_them() {
        let known = |domain: &str| Some(Disposable::WellKnown(domain.to_owned()));
        assert_eq!(look_up("mailinator.com"), known("mailinator.com"));
        assert_eq!(look_up("any.thing.yopmail.com"), known("yopmail.com"));
        assert_eq!(look_up("ahouse.top"), Some(Disposable::Listed("ahouse.top".to_owned())));
        let below = look_up("x.ahouse.top");
        assert_eq!(below, Some(Disposable::Listed("ahouse.top".to_owned())));
    }

    /// Mail systems of many countries, and services that pass mail on.
    #[test]
    fn peoples_own_mail_systems_are_not() {
        let domains = "gmail.com googlemail.com outlook.com hotmail.com hotmail.fr live.com msn.com \
            yahoo.com yahoo.co.jp yahoo.co.in ymail.com aol.com icloud.com me.com proton.me pm.me \
            protonmail.com tutanota.com tuta.com fastmail.com fastmail.fm hey.com zoho.com zoho.eu \
            gmx.de gmx.net gmx.at web.de t-online.de freenet.de posteo.de mailbox.org mail.de \
            mail.com email.com usa.com hushmail.com riseup.net disroot.org cock.li vivaldi.net \
            orange.fr wanadoo.fr free.fr sfr.fr laposte.net libero.it virgilio.it tin.it tiscali.it \
            telefonica.net terra.es sapo.pt ziggo.nl kpnmail.nl xs4all.nl telenet.be skynet.be \
            bluewin.ch aon.at wp.pl o2.pl interia.pl gazeta.pl op.pl onet.pl vp.pl seznam.cz \
            email.cz centrum.cz azet.sk freemail.hu citromail.hu abv.bg mail.ru bk.ru inbox.ru \
            list.ru yandex.ru ya.ru rambler.ru ukr.net i.ua meta.ua tut.by inbox.lv delfi.lv \
            mail.ee suomi24.fi luukku.com telia.com spray.se online.no mail.dk simnet.is \
            btinternet.com talktalk.net virginmedia.com sky.com eircom.net comcast.net att.net \
            sbcglobal.net bellsouth.net cox.net charter.net verizon.net earthlink.net juno.com \
            rogers.com shaw.ca videotron.ca bigpond.com optusnet.com.au xtra.co.nz uol.com.br \
            bol.com.br terra.com.br globo.com qq.com foxmail.com 163.com 126.com sina.com \
            sohu.com aliyun.com naver.com hanmail.net daum.net kakao.com nate.com docomo.ne.jp \
            ezweb.ne.jp nifty.com rediffmail.com walla.co.il mynet.com mweb.co.za otenet.gr \
            siol.net eunet.rs duck.com mozmail.com simplelogin.com addy.io \
            privaterelay.appleid.com anything.anonaddy.com mit.edu ox.ac.uk tum.de";
        for domain in domains.split_whitespace() {
            assert_eq!(look_up(domain), None, "{domain}");
        }
    }
}

//! What a mail says and whom it goes to: the tables know it, and `template_data` wins.

use serde_json::{Map, Value, json};

use super::milestones::{counted, in_words, reached};
use crate::domain::handler::Failure;
use crate::store::{CampaignRow, ReferralCounts, UserRow};
use crate::waitlist::email::{Email, EmailKind};
use crate::waitlist::person::shown_name;
use crate::waitlist::site::{InvalidSite, Site};

/// The member of `template_data` that names the recipient.
pub(super) const RECIPIENT: &str = "email";
/// The one that the header `List-Unsubscribe` repeats.
pub(super) const UNSUBSCRIBE: &str = "unsubscribe_link";

/// What is known of a mail before it is written.
pub(super) struct Known<'a> {
    pub(super) kind: EmailKind,
    pub(super) email: &'a Email,
    pub(super) user: Option<&'a UserRow>,
    pub(super) campaign: Option<&'a CampaignRow>,
    /// Where the pages of a campaign are that has none of its own.
    pub(super) site: &'a Site,
}

impl Known<'_> {
    /// A value that the payload names itself.
    pub(super) fn named(&self, name: &str) -> Option<&Value> {
        self.email.template_data.get(name).filter(|value| !value.is_null())
    }

    /// What the mail needs and nobody has said: neither the payload nor these values.
    pub(super) fn missing(&self, values: &Map<String, Value>) -> Vec<&'static str> {
        let needed = std::iter::once(RECIPIENT).chain(self.kind.needs().iter().copied());
        needed.filter(|name| !values.contains_key(*name)).collect()
    }

    /// Why this mail is not to go out, if so.
    pub(super) fn reason_to_skip(&self) -> Option<&'static str> {
        let user = self.user?;
        match user.status.as_str() {
            "removed" => return Some("removed"),
            "blocked" => return Some("blocked"),
            _ => {}
        }
        if self.kind.is_bulk() && user.unsubscribed {
            return Some("unsubscribed");
        }
        // What was confirmed is this address; another one that the payload names was not.
        let to = self.named(RECIPIENT).and_then(Value::as_str).unwrap_or(&user.email);
        let is_confirmed = user.email_verified && is_same_address(to, &user.email);
        (self.kind == EmailKind::Verification && is_confirmed).then_some("already_verified")
    }

    /// Every value, with the recipient among them.
    pub(super) fn values(&self) -> Result<Map<String, Value>, Failure> {
        let mut values = Map::new();
        if let Some(campaign) = self.campaign.and_then(CampaignRow::given_name) {
            values.insert("campaign_name".to_owned(), json!(campaign));
        }
        if let Some(user) = self.user {
            self.add_user(user, &mut values);
        }
        self.add_links(&mut values)?;
        let named = self.email.template_data.iter().filter(|(_, value)| !value.is_null());
        values.extend(named.map(|(name, value)| (name.clone(), value.clone())));
        Ok(values)
    }

    fn add_user(&self, user: &UserRow, values: &mut Map<String, Value>) {
        let mut add = |name: &str, value: Option<Value>| {
            values.extend(value.map(|value| (name.to_owned(), value)));
        };
        add(RECIPIENT, Some(json!(user.email)));
        add("first_name", shown(user.first_name.as_deref()).map(Value::from));
        add("last_name", shown(user.last_name.as_deref()).map(Value::from));
        add("position", user.position.map(Value::from));
        add("new_position", user.position.map(Value::from));
        let Some(campaign) = self.campaign else { return };
        let counts = ReferralCounts {
            all: user.referral_count,
            verified: user.verified_referral_count,
            milestone: 0,
        };
        add("referral_count", Some(json!(counted(campaign, counts))));
        add("milestone", reached(campaign, counts).map(|reached| json!(in_words(reached))));
    }

    /// The links to the site's pages. The token is in the one mail that asks for it.
    fn add_links(&self, values: &mut Map<String, Value>) -> Result<(), Failure> {
        let (campaign_id, user_id) = (self.email.campaign_id, self.email.user_id);
        let mut add = |name: &str, link: &dyn Fn(&Site) -> String| -> Result<(), Failure> {
            if self.named(name).is_none() {
                values.insert(name.to_owned(), json!(link(&self.campaigns_site()?)));
            }
            Ok(())
        };
        if let Some(user) = self.user {
            if self.kind == EmailKind::Verification {
                let token = user.verification_token.as_str();
                add("verification_link", &|site| {
                    site.verification_link(campaign_id, user_id, token)
                })?;
            }
            let code = user.referral_code.as_str();
            add("referral_link", &|site| site.referral_link(campaign_id, code))?;
        }
        if self.kind.is_bulk() {
            add(UNSUBSCRIBE, &|site| site.unsubscribe_link(campaign_id, user_id))?;
        }
        Ok(())
    }

    fn campaigns_site(&self) -> Result<Site, Failure> {
        let Some(own) = self.campaign.and_then(|campaign| campaign.site_url.as_deref()) else {
            return Ok(self.site.clone());
        };
        own.parse().map_err(|error: InvalidSite| {
            let message = format!(
                "the site_url of campaign {} {error}: mend it there",
                self.email.campaign_id
            );
            Failure::new("invalid_site_url", message)
        })
    }
}

/// Whether the first, which may be in the form `Ada <ada@example.com>`, is the other address.
fn is_same_address(to: &str, address: &str) -> bool {
    let bare = to.rsplit('<').next().unwrap_or(to).trim().trim_end_matches('>');
    bare.to_lowercase() == address.to_lowercase()
}

fn shown(name: Option<&str>) -> Option<String> {
    name.and_then(shown_name)
}

/// The name that stands beside an address that the tables know.
pub(super) fn full_name(user: &UserRow) -> Option<String> {
    let names = [user.first_name.as_deref(), user.last_name.as_deref()];
    let names: Vec<&str> = names.into_iter().flatten().collect();
    shown_name(&names.join(" "))
}

//! placeholder until outbound
/// A secret.
#[derive(Clone)]
pub struct Secret(String);
impl std::str::FromStr for Secret {
    type Err = ();
    fn from_str(s: &str) -> Result<Self, ()> {
        s.starts_with("whsec_").then(|| Self(s.to_owned())).ok_or(())
    }
}

//! The templates that are part of the binary. Knows their names and text, nothing of rendering.

/// Every kind of mail, by the name that e-mail jobs use. A name never changes once deployed.
pub const KINDS: [&str; 5] =
    ["verification", "welcome", "position-update", "reward-earned", "milestone"];

/// Every template file, by name. A file of the same name in the override directory replaces it.
pub(super) const FILES: [(&str, &str); 18] = [
    ("base.html", include_str!("templates/base.html")),
    ("base.txt", include_str!("templates/base.txt")),
    ("parts.html", include_str!("templates/parts.html")),
    ("verification.subject.txt", include_str!("templates/verification.subject.txt")),
    ("verification.txt", include_str!("templates/verification.txt")),
    ("verification.html", include_str!("templates/verification.html")),
    ("welcome.subject.txt", include_str!("templates/welcome.subject.txt")),
    ("welcome.txt", include_str!("templates/welcome.txt")),
    ("welcome.html", include_str!("templates/welcome.html")),
    ("position-update.subject.txt", include_str!("templates/position-update.subject.txt")),
    ("position-update.txt", include_str!("templates/position-update.txt")),
    ("position-update.html", include_str!("templates/position-update.html")),
    ("reward-earned.subject.txt", include_str!("templates/reward-earned.subject.txt")),
    ("reward-earned.txt", include_str!("templates/reward-earned.txt")),
    ("reward-earned.html", include_str!("templates/reward-earned.html")),
    ("milestone.subject.txt", include_str!("templates/milestone.subject.txt")),
    ("milestone.txt", include_str!("templates/milestone.txt")),
    ("milestone.html", include_str!("templates/milestone.html")),
];

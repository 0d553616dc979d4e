//! Links from page to page lead somewhere.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use crate::read;

/// Where pages are.
const FOLDERS: [&str; 3] = ["", "docs/", "examples/"];

/// Every page, by its path from the project's root.
fn pages() -> Vec<String> {
    let mut pages = Vec::new();
    for folder in FOLDERS {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        for entry in fs::read_dir(path).expect("a readable folder") {
            let name = entry.expect("an entry").file_name().to_string_lossy().into_owned();
            if Path::new(&name).extension().is_some_and(|extension| extension == "md") {
                pages.push(format!("{folder}{name}"));
            }
        }
    }
    pages
}

/// The targets of a page's links that are not on the web.
fn links(page: &str) -> Vec<&str> {
    let targets = page.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    targets.filter(|target| !target.contains("://")).collect()
}

/// The anchors of a page's headings, as GitHub makes them.
fn anchors(page: &str) -> HashSet<String> {
    let headings = page.lines().filter(|line| line.starts_with('#'));
    let slug = |heading: &str| {
        let words = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = words.chars().filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    headings.map(slug).collect()
}

#[test]
fn every_link_leads_to_a_file_and_a_heading() {
    let pages = pages();
    assert!(pages.len() > 5, "the pages were not read");
    for page in &pages {
        let text = read(page);
        for link in links(&text) {
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let folder = Path::new(page).parent().expect("a folder");
            let file = if file.is_empty() { page.into() } else { folder.join(file) };
            let target = read(&file.to_string_lossy());
            assert!(
                anchor.is_empty() || anchors(&target).contains(anchor),
                "{page}: {link} leads to no heading"
            );
        }
    }
}

#[test]
fn links_and_anchors_are_read_as_they_are_written() {
    let page = "## At 3 a.m.\n[a](b.md#at-3-am), [c](https://d.example/#e) and [f](#g)\n";
    assert_eq!(links(page), ["b.md#at-3-am", "#g"]);
    assert_eq!(anchors(page), HashSet::from(["at-3-am".to_owned()]));
}

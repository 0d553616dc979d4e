//! The table of settings in the documents tells what the code takes.

use crate::read;

/// A setting as `src/app/settings.rs` declares it.
#[derive(Debug, Default, PartialEq, Eq)]
struct Setting {
    flag: String,
    variable: Option<String>,
    default: Option<String>,
}

/// Every `#[arg(long ..)]` with the field that it stands on.
fn settings(code: &str) -> Vec<Setting> {
    let mut settings = Vec::new();
    for part in code.split("#[arg(long").skip(1) {
        let (attribute, rest) = part.split_once(")]").expect("the attribute ends");
        let (field, _) = rest.split_once(':').expect("a field");
        let field = field.split_whitespace().last().expect("a name");
        let value = |name: &str| {
            let (_, rest) = attribute.split_once(&format!("{name} = \""))?;
            rest.split_once('"').map(|(value, _)| value.to_owned())
        };
        let own_name = attribute.strip_prefix(" = \"").and_then(|rest| rest.split_once('"'));
        settings.push(Setting {
            flag: own_name.map_or_else(|| field.replace('_', "-"), |(name, _)| name.to_owned()),
            variable: value("env"),
            default: value("default_value"),
        });
    }
    settings
}

#[test]
fn every_setting_is_documented_with_its_variable_and_default() {
    let document = read("docs/configuration.md");
    let settings = settings(&read("src/app/settings.rs"));
    assert!(settings.len() > 5, "src/app/settings.rs was not understood");
    for Setting { flag, variable, default } in settings {
        let row = document.lines().find(|line| line.starts_with(&format!("| `--{flag}")));
        let row = row.unwrap_or_else(|| panic!("docs/configuration.md has no row for --{flag}"));
        for word in [variable, default].into_iter().flatten() {
            assert!(row.contains(&format!("`{word}`")), "--{flag}: the row does not say `{word}`");
        }
    }
}

#[test]
fn the_readme_s_table_says_the_same() {
    let (readme, document) = (read("README.md"), read("docs/configuration.md"));
    let (_, table) = readme.split_once("## Settings\n").expect("its settings");
    let rows = table.lines().take_while(|line| !line.starts_with("## "));
    let rows: Vec<&str> = rows.filter(|line| line.starts_with("| `")).collect();
    assert_eq!(rows.len(), 10, "the README was not understood");
    for row in rows {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let [_, variable, default, ..] = cells[..] else { panic!("not a row: {row}") };
        let known = document.lines().find(|line| line.contains(&format!("| {variable} |")));
        let known = known.unwrap_or_else(|| panic!("docs/configuration.md has no {variable}"));
        // A default in words is said in other words there.
        if default.starts_with('`') {
            assert!(known.contains(default), "{variable}: {known}");
        }
    }
}

#[test]
fn settings_are_read_off_their_attributes() {
    let code = "#[arg(long, env = \"A_B\", default_value = \"x\")]\n pub(super) a_b: X,
        #[arg(long = \"c-d\", value_name = \"N\")]\n cs: Vec<X>,";
    let expected = [
        Setting {
            flag: "a-b".to_owned(),
            variable: Some("A_B".to_owned()),
            default: Some("x".to_owned()),
        },
        Setting { flag: "c-d".to_owned(), ..Setting::default() },
    ];
    assert_eq!(settings(code), expected);
}

//! What the Compose file sets for jobgate is a setting that jobgate has, and no secret of it can
//! get into git.

use crate::read;

/// A service of the Compose file, by the lines under its name: at two spaces, as `services` has
/// them and nothing else in that file with a variable.
fn service<'a>(compose: &'a str, name: &str) -> Vec<&'a str> {
    let lines = compose.lines().skip_while(|line| *line != format!("  {name}:")).skip(1);
    let inside: Vec<&str> =
        lines.take_while(|line| line.is_empty() || line.starts_with("   ")).collect();
    assert!(!inside.is_empty(), "docker-compose.kafka.yml has no service {name}");
    inside
}

/// The names of the environment variables that a line of YAML sets, and of no other key: these
/// are in capitals.
fn variable(line: &str) -> Option<&str> {
    let (name, _) = line.trim_start().split_once(':')?;
    let is_capital = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    name.chars().all(is_capital).then_some(name)
}

/// The variables that Compose takes from `.env`: `${NAME..}`.
fn interpolated(compose: &str) -> Vec<&str> {
    let names = compose.split("${").skip(1);
    names.filter_map(|rest| rest.split([':', '}', '-', '?']).next()).collect()
}

#[test]
fn jobgate_knows_every_variable_that_the_compose_file_sets() {
    let compose = read("docker-compose.kafka.yml");
    let (_, shared) = compose.split_once("x-shared:").expect("the variables of both roles");
    let (shared, _) = shared.split_once("\nservices:").expect("the services after them");
    let lines = shared.lines().chain(service(&compose, "gateway"));
    let set: Vec<&str> = lines.chain(service(&compose, "worker")).filter_map(variable).collect();
    for expected in ["KAFKA_BROKERS", "DB_PASSWORD", "JOBGATE_JWT_SECRET", "SMTP_URL"] {
        assert!(set.contains(&expected), "{expected} was not found among {set:?}");
    }
    assert!(!set.contains(&"CONSUMER_INSTANCE"), "the copies of a service would share it");
    let document = read("docs/configuration.md");
    for name in set {
        let is_documented = document
            .lines()
            .any(|line| line.starts_with('|') && line.contains(&format!("| `{name}` |")));
        assert!(
            is_documented,
            "docker-compose.kafka.yml sets {name}, docs/configuration.md has it not"
        );
    }
}

#[test]
fn every_secret_is_asked_for_by_name_and_none_is_committed() {
    let compose = read("docker-compose.kafka.yml");
    let example = read(".env.example");
    let names = interpolated(&compose);
    assert!(names.contains(&"DB_PASSWORD") && names.contains(&"JOBGATE_JWT_SECRET"), "{names:?}");
    for name in names {
        assert!(
            compose.contains(&format!("${{{name}:?")),
            "Compose takes {name} for empty where it is missing"
        );
        let is_empty = example.lines().any(|line| line == format!("{name}="));
        assert!(is_empty, ".env.example does not ask for {name}, or gives it");
    }
    assert!(read(".gitignore").lines().any(|line| line == ".env"), "git would take .env");
}

#[test]
fn kafka_alone_needs_no_env_file() {
    // Compose asks for every variable of a file, whichever services it is to start.
    assert_eq!(interpolated(&read("docker-compose.kafka-only.yml")), Vec::<&str>::new());
    assert!(read("docker-compose.kafka.yml").contains("- docker-compose.kafka-only.yml"));
}

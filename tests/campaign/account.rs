//! The ledger of a fault.

use std::collections::{HashMap, HashSet};
use std::fmt;

use super::load::Load;
use super::rig::ledger::{Execution, effects, executions, out_of_order};
use super::rig::stage::Stage;

/// What was promised against what came of it.
#[derive(Debug, Default)]
pub(crate) struct Account {
    fault: String,
    accepted: usize,
    unknown: usize,
    refused: usize,
    lost: usize,
    effects: usize,
    /// Ids with more than one effect.
    repeated_effects: usize,
    /// Effects of jobs that nobody has sent, or whose sender was told that they are not there.
    strangers: usize,
    out_of_order: usize,
    dead_letters: usize,
    executions: usize,
    /// Executions of a job that ran again, by why the one before was not the last.
    cut_off: usize,
    not_committed: usize,
    no_database: usize,
    /// Of all these, on another worker than before.
    elsewhere: usize,
}

impl Account {
    pub(crate) async fn of(stage: &Stage, fault: &str, load: &Load<'_>) -> Self {
        let answers = load.answers();
        let effects = effects(&stage.pool, fault).await;
        let executions = executions(&stage.pool, fault).await;
        let accepted: HashSet<String> = answers.accepted.iter().map(ToString::to_string).collect();
        let unknown: HashSet<String> = answers.unknown.iter().map(ToString::to_string).collect();
        let mut by_id: HashMap<&str, usize> = HashMap::new();
        for effect in &effects {
            *by_id.entry(&effect.message_id).or_default() += 1;
        }
        let is_known = |id: &&&str| accepted.contains(**id) || unknown.contains(**id);
        let mut account = Self {
            fault: fault.to_owned(),
            accepted: accepted.len(),
            unknown: unknown.len(),
            refused: answers.refused,
            lost: accepted.iter().filter(|id| !by_id.contains_key(id.as_str())).count(),
            effects: effects.len(),
            repeated_effects: by_id.values().filter(|count| **count > 1).count(),
            strangers: by_id.keys().filter(|id| !is_known(id)).count(),
            out_of_order: out_of_order(&effects).len(),
            dead_letters: stage.letters().await.len(),
            executions: executions.len(),
            ..Self::default()
        };
        account.explain(&executions);
        account
    }

    /// Why jobs ran again.
    fn explain(&mut self, executions: &[Execution]) {
        let mut last: HashMap<&str, &Execution> = HashMap::new();
        for execution in executions {
            let Some(before) = last.insert(&execution.message_id, execution) else { continue };
            match before.outcome.as_deref() {
                Some(_) => self.not_committed += 1,
                // It goes on elsewhere, or its end could not be noted.
                None if before.instance == execution.instance => self.no_database += 1,
                None => self.cut_off += 1,
            }
            self.elsewhere += usize::from(before.instance != execution.instance);
        }
    }

    /// Whether everything that is promised was kept.
    pub(crate) fn assert_is_clean(&self) {
        let broken = [
            self.lost,
            self.repeated_effects,
            self.strangers,
            self.out_of_order,
            self.dead_letters,
        ];
        assert_eq!(broken, [0; 5], "{self}");
        assert!(self.accepted > 0, "{self}");
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let again = self.cut_off + self.not_committed + self.no_database;
        write!(
            f,
            "accepted {} | outcome unknown {} | refused and sent again {} | lost {} | effects {} | \
             ids with more than one effect {} | effects of nobody's job {} | order violations {} | \
             dead letters {} | executions {}, of which run again after {}: {again} ({} cut off, \
             {} done but not committed, {} without the database; {} on another worker)",
            self.accepted,
            self.unknown,
            self.refused,
            self.lost,
            self.effects,
            self.repeated_effects,
            self.strangers,
            self.out_of_order,
            self.dead_letters,
            self.executions,
            self.fault,
            self.cut_off,
            self.not_committed,
            self.no_database,
            self.elsewhere,
        )
    }
}

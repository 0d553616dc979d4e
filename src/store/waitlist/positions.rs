//! Places on a campaign's list: worked out anew as a whole, written where they have changed, and
//! remembered as told.
//!
//! On the list stand those who wait: users that are pending or verified. Who was removed, blocked
//! or let in (converted) has no place.

use std::time::Duration;

use sqlx::Row as _;
use sqlx::any::AnyRow;
use uuid::Uuid;

use crate::store::{Effect, StoreError};

/// How long a statement over a whole list may take: a million users on a machine that is busy with
/// other things, and less than an attempt may take.
const STATEMENT_MAX: Duration = Duration::from_mins(3);
/// Users that one statement names.
const NAMED_MAX: usize = 25;

/// A user whose place differs from the one that was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MovedUser {
    /// The user.
    pub id: Uuid,
    /// The place that was told last.
    pub told_position: i64,
    /// The place now.
    pub position: i64,
}

/// The end of a statement: those of [`NAMED_MAX`] users; a literal, since sqlx takes no text that
/// was put together.
macro_rules! of_named_users {
    ($start:literal) => {
        concat!(
            $start,
            " IN ($2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18,
                  $19, $20, $21, $22, $23, $24, $25, $26)"
        )
    };
}

/// Selects whom to tell; a literal as well.
macro_rules! select_moved {
    () => {
        "SELECT listed.id, listed.told_position, listed.position
         FROM campaigns JOIN waitlist_users AS listed ON listed.campaign_id = campaigns.id
         WHERE campaigns.id = $1 AND listed.position > 0 AND listed.told_position > 0
           AND listed.position <> listed.told_position
           AND ABS(listed.position - listed.told_position) >= campaigns.position_update_threshold"
    };
}

impl Effect {
    /// Works out every place on the campaign's list and writes those that have changed, in one
    /// statement. Returns how many have. A user's first place counts as told.
    ///
    /// Effects on one campaign take their turns. On SQLite, which has one writer, everybody else's
    /// wait meanwhile; on PostgreSQL those that change the same users.
    pub async fn recalculate_positions(&mut self, campaign_id: Uuid) -> Result<u64, StoreError> {
        self.on().allow(STATEMENT_MAX);
        self.take_turns(&[campaign_id]).await?;
        let done = sqlx::query(
            "UPDATE waitlist_users SET
                 position = moved.place,
                 original_position = CASE WHEN original_position > 0 THEN original_position
                                          ELSE moved.place END,
                 told_position = CASE WHEN told_position > 0 AND moved.place > 0
                                      THEN told_position ELSE moved.place END
             FROM (
                 SELECT id, place
                 FROM (
                     SELECT scored.id, scored.position AS old_place,
                         CASE WHEN scored.is_listed = 1
                              THEN ROW_NUMBER() OVER (
                                  PARTITION BY scored.is_listed
                                  ORDER BY scored.score DESC, scored.created_at_ms, scored.id)
                              ELSE -1 END AS place
                     FROM (
                         SELECT listed.id, listed.position, listed.created_at_ms,
                             CASE WHEN listed.status IN ('pending', 'verified') THEN 1 ELSE 0 END
                                 AS is_listed,
                             CASE WHEN campaigns.verification_required <> 0
                                  THEN listed.verified_referral_count
                                  ELSE listed.referral_count END
                                 * campaigns.referrer_positions_to_jump
                             + CASE WHEN listed.referred_by_id IS NULL THEN 0
                                    ELSE campaigns.positions_to_jump END AS score
                         FROM campaigns
                         JOIN waitlist_users AS listed ON listed.campaign_id = campaigns.id
                         WHERE campaigns.id = $1
                     ) AS scored
                 ) AS ranked
                 WHERE place <> old_place
             ) AS moved
             WHERE waitlist_users.id = moved.id",
        )
        .bind(campaign_id.to_string())
        .execute(self.on())
        .await?;
        Ok(done.rows_affected())
    }

    /// Users of the campaign whose place differs from the one told last by as much as the campaign
    /// asks for: of these users if they are named, and so many at most, those in front first.
    pub async fn moved_users(
        &mut self,
        campaign_id: Uuid,
        named: Option<&[Uuid]>,
        most: usize,
    ) -> Result<Vec<MovedUser>, StoreError> {
        let Some(named) = named else {
            let rows = sqlx::query(concat!(select_moved!(), " ORDER BY listed.position LIMIT $2"))
                .bind(campaign_id.to_string())
                .bind(i64::try_from(most).unwrap_or(i64::MAX))
                .fetch_all(self.on())
                .await?;
            return rows.iter().map(moved).collect();
        };
        let mut found = Vec::new();
        for users in named.chunks(NAMED_MAX) {
            let query = sqlx::query(concat!(select_moved!(), of_named_users!(" AND listed.id")))
                .bind(campaign_id.to_string());
            let query = padded(users).fold(query, |query, id| query.bind(id.to_string()));
            for row in query.fetch_all(self.on()).await? {
                found.push(moved(&row)?);
            }
        }
        found.sort_unstable_by_key(|user| user.position);
        found.truncate(most);
        Ok(found)
    }

    /// These users of the campaign are told the place that they have.
    pub async fn tell_positions(
        &mut self,
        campaign_id: Uuid,
        users: &[MovedUser],
    ) -> Result<(), StoreError> {
        let ids: Vec<Uuid> = users.iter().map(|user| user.id).collect();
        for users in ids.chunks(NAMED_MAX) {
            let query = sqlx::query(of_named_users!(
                "UPDATE waitlist_users SET told_position = position
                 WHERE campaign_id = $1 AND id"
            ))
            .bind(campaign_id.to_string());
            let query = padded(users).fold(query, |query, id| query.bind(id.to_string()));
            query.execute(self.on()).await?;
        }
        Ok(())
    }
}

/// As many as a statement names; who is named twice is meant once.
fn padded(users: &[Uuid]) -> impl Iterator<Item = Uuid> {
    users.iter().copied().cycle().take(NAMED_MAX)
}

fn moved(row: &AnyRow) -> Result<MovedUser, StoreError> {
    Ok(MovedUser {
        id: super::id_at(row, "id")?,
        told_position: row.try_get("told_position")?,
        position: row.try_get("position")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;
    use crate::store::tests::on_both_databases;

    on_both_databases! {
        places_follow_the_score_then_the_time_then_the_id,
        without_verification_every_referral_counts,
        only_what_has_changed_is_written,
        who_does_not_wait_has_no_place,
        a_first_place_is_told_and_a_later_one_when_it_is_far_enough,
        of_many_who_moved_so_many_are_told_and_the_others_later,
        other_campaigns_keep_their_places,
    }

    const CAMPAIGN: Uuid = Uuid::from_u128(0xc0);
    const OTHER: Uuid = Uuid::from_u128(0xc1);

    async fn run(store: &Store, text: &'static str) {
        sqlx::query(text).execute(&store.writer).await.unwrap();
    }

    /// A campaign that asks for confirmed addresses; 3 for who was referred, 2 for each referral.
    async fn campaign(store: &Store, id: Uuid) {
        sqlx::query(
            "INSERT INTO campaigns (id, name, slug, verification_required, positions_to_jump,
                 referrer_positions_to_jump, position_update_threshold, created_at_ms)
             VALUES ($1, 'c', $1, 1, 3, 2, 2, 1)",
        )
        .bind(id.to_string())
        .execute(&store.writer)
        .await
        .unwrap();
    }

    async fn user(store: &Store, campaign: Uuid, id: u128, at_ms: i64) {
        sqlx::query(
            "INSERT INTO waitlist_users (id, campaign_id, email, email_key, status, referral_code,
                 verification_token, source, created_at_ms)
             VALUES ($1, $2, $1, $1, 'pending', $1, 't', 'direct', $3)",
        )
        .bind(Uuid::from_u128(id).to_string())
        .bind(campaign.to_string())
        .bind(at_ms)
        .execute(&store.writer)
        .await
        .unwrap();
    }

    /// Gives a user these referrals, all and verified, and a referrer.
    async fn score(store: &Store, id: u128, counts: (i64, i64), referrer: Option<u128>) {
        sqlx::query(
            "UPDATE waitlist_users SET referral_count = $1, verified_referral_count = $2,
                 referred_by_id = $3 WHERE id = $4",
        )
        .bind(counts.0)
        .bind(counts.1)
        .bind(referrer.map(|id| Uuid::from_u128(id).to_string()))
        .bind(Uuid::from_u128(id).to_string())
        .execute(&store.writer)
        .await
        .unwrap();
    }

    async fn recalculate(store: &Store, run: u128) -> u64 {
        let mut effect = store.effect("g", Uuid::from_u128(run), 1).await.unwrap().unwrap();
        let written = effect.recalculate_positions(CAMPAIGN).await.unwrap();
        effect.commit().await.unwrap();
        written
    }

    async fn tell(store: &Store, run: u128, named: Option<&[Uuid]>, most: usize) -> Vec<[i64; 2]> {
        let mut effect = store.effect("g", Uuid::from_u128(run), 1).await.unwrap().unwrap();
        let moved = effect.moved_users(CAMPAIGN, named, most).await.unwrap();
        effect.tell_positions(CAMPAIGN, &moved).await.unwrap();
        effect.commit().await.unwrap();
        moved.iter().map(|user| [user.told_position, user.position]).collect()
    }

    /// Users in the order of their places; then those who have none.
    async fn list(store: &Store) -> Vec<(u128, i64)> {
        let rows = sqlx::query(
            "SELECT id, position FROM waitlist_users
             ORDER BY CASE WHEN position > 0 THEN 0 ELSE 1 END, position, id",
        )
        .fetch_all(&store.reader)
        .await
        .unwrap();
        let place = |row: &AnyRow| {
            let id = super::super::id_at(row, "id").unwrap();
            (id.as_u128(), row.try_get::<i64, _>("position").unwrap())
        };
        rows.iter().map(place).collect()
    }

    async fn column(store: &Store, column: &'static str) -> Vec<i64> {
        let text = match column {
            "original" => "SELECT original_position FROM waitlist_users ORDER BY id",
            _ => "SELECT told_position FROM waitlist_users ORDER BY id",
        };
        let rows = sqlx::query(text).fetch_all(&store.reader).await.unwrap();
        rows.iter().map(|row| row.try_get(0).unwrap()).collect()
    }

    async fn places_follow_the_score_then_the_time_then_the_id(store: Store) {
        campaign(&store, CAMPAIGN).await;
        for (id, at_ms) in [(1, 50), (2, 40), (3, 40), (4, 90), (5, 30), (0xff, 10)] {
            user(&store, CAMPAIGN, id, at_ms).await;
        }
        score(&store, 4, (9, 2), None).await; // 4
        score(&store, 1, (0, 0), Some(4)).await; // 3
        score(&store, 5, (9, 0), None).await; // 0: none of them is verified
        assert_eq!(recalculate(&store, 1).await, 6);
        let expected = [(4, 1), (1, 2), (0xff, 3), (5, 4), (2, 5), (3, 6)];
        assert_eq!(list(&store).await, expected);
    }

    async fn without_verification_every_referral_counts(store: Store) {
        campaign(&store, CAMPAIGN).await;
        run(&store, "UPDATE campaigns SET verification_required = 0").await;
        for id in 1..=3 {
            user(&store, CAMPAIGN, id, i64::try_from(id).unwrap()).await;
        }
        score(&store, 3, (1, 0), None).await;
        recalculate(&store, 1).await;
        assert_eq!(list(&store).await, [(3, 1), (1, 2), (2, 3)]);
    }

    async fn only_what_has_changed_is_written(store: Store) {
        campaign(&store, CAMPAIGN).await;
        for id in 1..=5 {
            user(&store, CAMPAIGN, id, i64::try_from(id).unwrap()).await;
        }
        assert_eq!(recalculate(&store, 1).await, 5);
        assert_eq!(recalculate(&store, 2).await, 0);
        score(&store, 4, (5, 5), None).await;
        assert_eq!(recalculate(&store, 3).await, 4, "the last one stays where it was");
        assert_eq!(list(&store).await, [(4, 1), (1, 2), (2, 3), (3, 4), (5, 5)]);
        assert_eq!(column(&store, "original").await, [1, 2, 3, 4, 5], "as they were first");
    }

    async fn who_does_not_wait_has_no_place(store: Store) {
        campaign(&store, CAMPAIGN).await;
        for id in 1..=5 {
            user(&store, CAMPAIGN, id, i64::try_from(id).unwrap()).await;
        }
        run(&store, "UPDATE waitlist_users SET status = 'verified'").await;
        recalculate(&store, 1).await;
        for (id, status) in [(1_u128, "removed"), (2, "blocked"), (3, "converted")] {
            sqlx::query("UPDATE waitlist_users SET status = $1 WHERE id = $2")
                .bind(status)
                .bind(Uuid::from_u128(id).to_string())
                .execute(&store.writer)
                .await
                .unwrap();
        }
        assert_eq!(recalculate(&store, 2).await, 5);
        assert_eq!(list(&store).await, [(4, 1), (5, 2), (1, -1), (2, -1), (3, -1)]);
        assert_eq!(recalculate(&store, 3).await, 0);
        // Back again: a place like a first one, but for the one that was the first.
        run(&store, "UPDATE waitlist_users SET status = 'pending' WHERE status = 'blocked'").await;
        recalculate(&store, 4).await;
        assert_eq!(list(&store).await, [(2, 1), (4, 2), (5, 3), (1, -1), (3, -1)]);
        assert_eq!(column(&store, "original").await, [1, 2, 3, 4, 5]);
        assert_eq!(column(&store, "told").await, [-1, 1, -1, 4, 5], "4 and 5 were not told yet");
    }

    async fn a_first_place_is_told_and_a_later_one_when_it_is_far_enough(store: Store) {
        campaign(&store, CAMPAIGN).await;
        for id in 1..=4 {
            user(&store, CAMPAIGN, id, i64::try_from(id).unwrap()).await;
        }
        recalculate(&store, 1).await;
        assert!(tell(&store, 2, None, 9).await.is_empty());
        score(&store, 4, (5, 5), None).await;
        recalculate(&store, 3).await;
        let third = [Uuid::from_u128(3)];
        assert!(tell(&store, 4, Some(&third), 9).await.is_empty(), "it has moved by one");
        assert_eq!(tell(&store, 5, None, 9).await, [[4, 1]], "by three, where two are asked for");
        score(&store, 2, (9, 9), None).await;
        recalculate(&store, 6).await;
        // 2: told 2, now 1. 4: told 1, now 2. 1: told 1, now 3. 3: told 3, now 4.
        assert!(tell(&store, 7, Some(&third), 9).await.is_empty());
        assert_eq!(tell(&store, 8, None, 9).await, [[1, 3]], "small steps add up");
        assert!(tell(&store, 9, None, 9).await.is_empty(), "once");
    }

    async fn of_many_who_moved_so_many_are_told_and_the_others_later(store: Store) {
        campaign(&store, CAMPAIGN).await;
        for id in 1..=80 {
            user(&store, CAMPAIGN, id, i64::try_from(id).unwrap()).await;
        }
        recalculate(&store, 1).await;
        run(&store, "UPDATE waitlist_users SET created_at_ms = 1000 - created_at_ms").await;
        recalculate(&store, 2).await;
        let named: Vec<Uuid> = (1..=60).map(Uuid::from_u128).collect();
        let first = tell(&store, 3, Some(&named), 55).await;
        assert_eq!((first.len(), first[0]), (55, [60, 21]), "the first of those named");
        assert_eq!(tell(&store, 4, None, 20).await.len(), 20);
        let last = tell(&store, 5, None, 20).await;
        assert_eq!((last.len(), last.last()), (3, Some(&[1, 80])), "two have moved by one");
    }

    async fn other_campaigns_keep_their_places(store: Store) {
        campaign(&store, CAMPAIGN).await;
        campaign(&store, OTHER).await;
        user(&store, CAMPAIGN, 1, 1).await;
        user(&store, OTHER, 2, 1).await;
        assert_eq!(recalculate(&store, 1).await, 1);
        assert_eq!(list(&store).await, [(1, 1), (2, -1)]);
        let mut effect = store.effect("g", Uuid::from_u128(9), 1).await.unwrap().unwrap();
        let unknown = Uuid::from_u128(0xee);
        assert_eq!(effect.recalculate_positions(unknown).await.unwrap(), 0, "nobody is there");
    }
}

//! Keys, each test on a real SQLite and on a real PostgreSQL.

use super::*;
use crate::domain::id::IdSource;
use crate::store::tests::on_both_databases;

on_both_databases! {
    the_first_of_many_has_the_row_and_the_others_its_answer,
    twins_of_one_call_are_one,
    another_request_is_told_so_whatever_the_state,
    callers_and_types_do_not_share_keys,
    a_row_whose_attempt_has_died_is_taken_over_under_its_id,
    what_was_let_go_undone_is_as_good_as_new,
    what_may_have_been_done_keeps_its_id,
    the_first_answer_stays,
    an_old_key_is_a_new_one,
    the_record_of_a_keyed_id_is_found,
    of_nothing_nothing_comes,
    any_text_comes_back_as_it_went_in,
}

const NOW: i64 = 1_735_689_600_000;
const TIMES: KeyTimes =
    KeyTimes { now_ms: NOW, held_until_ms: NOW + 5_000, forgotten_ms: NOW - 86_400_000 };

fn wish_at(key: &str, body: &str, at_ms: i64) -> Reservation {
    let scope = KeyScope { caller: "billing".into(), type_name: "t".into(), key: key.into() };
    Reservation { scope, fingerprint: body.into(), attempt: IdSource::new().next(at_ms) }
}

fn wish(key: &str) -> Reservation {
    wish_at(key, "f", NOW)
}

fn answer(text: &str) -> KeptAnswer {
    let body = format!("{{\"id\":\"{text}\"}}");
    KeptAnswer { status: 202, location: "/jobs/t/3/17".into(), body, place: Some((3, 17)) }
}

fn answered(reservation: &Reservation, message_id: Uuid, text: &str) -> AnsweredRequest {
    AnsweredRequest { reservation: reservation.clone(), message_id, answer: answer(text) }
}

async fn reserve_at(store: &Store, wish: &Reservation, times: KeyTimes) -> Reserved {
    store.reserve_keys(std::slice::from_ref(wish), times).await.unwrap().remove(0)
}

async fn reserve(store: &Store, wish: &Reservation) -> Reserved {
    reserve_at(store, wish, TIMES).await
}

async fn the_first_of_many_has_the_row_and_the_others_its_answer(store: Store) {
    let first = wish("k");
    assert_eq!(reserve(&store, &first).await, Reserved::Yours(first.attempt));
    assert_eq!(reserve(&store, &wish("k")).await, Reserved::InFlight);
    store.keep_answers(&[answered(&first, first.attempt, "x")]).await.unwrap();
    assert_eq!(reserve(&store, &wish("k")).await, Reserved::Answered(answer("x")));
}

async fn twins_of_one_call_are_one(store: Store) {
    let wishes = [wish("b"), wish("a"), wish("b"), wish_at("b", "g", NOW)];
    let reserved = store.reserve_keys(&wishes, TIMES).await.unwrap();
    let expected = [
        Reserved::Yours(wishes[0].attempt),
        Reserved::Yours(wishes[1].attempt),
        Reserved::InFlight,
        Reserved::OtherRequest,
    ];
    assert_eq!(reserved, expected);
}

async fn another_request_is_told_so_whatever_the_state(store: Store) {
    let (first, other) = (wish("k"), wish_at("k", "g", NOW));
    reserve(&store, &first).await;
    assert_eq!(reserve(&store, &other).await, Reserved::OtherRequest, "in flight");
    store.let_key_go(&first, true).await.unwrap();
    assert_eq!(reserve(&store, &other).await, Reserved::OtherRequest, "it may have been done");
    store.keep_answers(&[answered(&first, first.attempt, "x")]).await.unwrap();
    assert_eq!(reserve(&store, &other).await, Reserved::OtherRequest, "answered");
}

async fn callers_and_types_do_not_share_keys(store: Store) {
    let first = wish("k");
    let mut of_another = wish("k");
    of_another.scope.caller = "orders".into();
    let mut for_another = wish("k");
    for_another.scope.type_name = "u".into();
    for wish in [first, of_another, for_another] {
        assert_eq!(reserve(&store, &wish).await, Reserved::Yours(wish.attempt), "{wish:?}");
    }
}

async fn a_row_whose_attempt_has_died_is_taken_over_under_its_id(store: Store) {
    let (first, second) = (wish("k"), wish("k"));
    reserve(&store, &first).await;
    let later = |by_ms| KeyTimes {
        now_ms: NOW + by_ms,
        held_until_ms: NOW + by_ms + 5_000,
        forgotten_ms: NOW + by_ms - 86_400_000,
    };
    assert_eq!(reserve_at(&store, &second, later(4_999)).await, Reserved::InFlight);
    store.hold_key(&first, NOW + 7_000).await.unwrap();
    assert_eq!(reserve_at(&store, &second, later(6_999)).await, Reserved::InFlight, "it lives");
    let taken = reserve_at(&store, &second, later(7_000)).await;
    assert_eq!(taken, Reserved::Yours(first.attempt));
    // What the first one says now is nothing to the row.
    store.hold_key(&first, NOW + 60_000).await.unwrap();
    store.let_key_go(&first, false).await.unwrap();
    assert_eq!(reserve_at(&store, &wish("k"), later(8_000)).await, Reserved::InFlight);
    let third = reserve_at(&store, &wish("k"), later(12_000)).await;
    assert_eq!(third, Reserved::Yours(first.attempt));
}

async fn what_was_let_go_undone_is_as_good_as_new(store: Store) {
    let first = wish("k");
    reserve(&store, &first).await;
    store.let_key_go(&first, false).await.unwrap();
    let mended = wish_at("k", "g", NOW);
    assert_eq!(reserve(&store, &mended).await, Reserved::Yours(mended.attempt));
}

async fn what_may_have_been_done_keeps_its_id(store: Store) {
    let (first, second) = (wish("k"), wish("k"));
    reserve(&store, &first).await;
    store.let_key_go(&first, true).await.unwrap();
    assert_eq!(reserve(&store, &second).await, Reserved::Yours(first.attempt));
    // The second has done nothing; the first may have.
    store.let_key_go(&second, false).await.unwrap();
    assert_eq!(reserve(&store, &wish("k")).await, Reserved::Yours(first.attempt));
}

async fn the_first_answer_stays(store: Store) {
    let first = wish("k");
    reserve(&store, &first).await;
    let answers = ["x", "y"].map(|text| answered(&first, first.attempt, text));
    for one in &answers {
        store.keep_answers([one]).await.unwrap();
    }
    store.let_key_go(&first, false).await.unwrap();
    assert_eq!(reserve(&store, &wish("k")).await, Reserved::Answered(answer("x")));
}

async fn an_old_key_is_a_new_one(store: Store) {
    let first = wish_at("k", "f", NOW - 86_400_000);
    reserve(&store, &first).await;
    store.keep_answers(&[answered(&first, first.attempt, "x")]).await.unwrap();
    let young = KeyTimes { forgotten_ms: TIMES.forgotten_ms - 1, ..TIMES };
    assert_eq!(reserve_at(&store, &wish("k"), young).await, Reserved::Answered(answer("x")));
    let second = wish_at("k", "g", NOW);
    assert_eq!(reserve(&store, &second).await, Reserved::Yours(second.attempt));
    assert_eq!(reserve(&store, &wish_at("k", "g", NOW)).await, Reserved::InFlight);
    // An answer that comes a day late is not that of the new request.
    store.keep_answers(&[answered(&first, first.attempt, "x")]).await.unwrap();
    assert_eq!(reserve(&store, &wish_at("k", "g", NOW)).await, Reserved::InFlight);
}

async fn the_record_of_a_keyed_id_is_found(store: Store) {
    let (first, second) = (wish("k"), wish("l"));
    store.reserve_keys(&[first.clone(), second.clone()], TIMES).await.unwrap();
    assert_eq!(store.place_of_keyed(first.attempt).await.unwrap(), None);
    store.keep_answers(&[answered(&first, first.attempt, "x")]).await.unwrap();
    let found = store.place_of_keyed(first.attempt).await.unwrap();
    assert_eq!(found, Some(("t".to_owned(), 3, 17)));
    assert_eq!(store.place_of_keyed(second.attempt).await.unwrap(), None);
}

async fn of_nothing_nothing_comes(store: Store) {
    assert_eq!(store.reserve_keys(&[], TIMES).await.unwrap(), []);
    store.keep_answers(&[]).await.unwrap();
}

async fn any_text_comes_back_as_it_went_in(store: Store) {
    let odd = "\"a\\b\" {}[],;:'$1 %s ~ \\u0000";
    let first = wish(odd);
    assert_eq!(reserve(&store, &first).await, Reserved::Yours(first.attempt));
    let said = KeptAnswer {
        status: 201,
        location: "/é".into(),
        body: "{\"key\":\"\\u0000\\n\\\"\u{1f600}é\"}".into(),
        place: None,
    };
    let answered = AnsweredRequest {
        reservation: first.clone(),
        message_id: first.attempt,
        answer: said.clone(),
    };
    store.keep_answers(&[answered]).await.unwrap();
    assert_eq!(reserve(&store, &wish(odd)).await, Reserved::Answered(said));
}

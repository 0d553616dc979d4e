//! Requests under their keys, on a real SQLite.

use tokio::sync::Notify;

use super::*;
use crate::domain::clock::SystemClock;
use crate::store::{Database, KeyTimes};

/// The use case, with all that it stands on.
struct Rig {
    idempotency: Idempotency,
    store: Store,
    tracker: TaskTracker,
    stop: CancellationToken,
    _dir: tempfile::TempDir,
}

impl Rig {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Database::Sqlite(dir.path().join("t.db")).open().await.unwrap();
        let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
        let clock: SharedClock = Arc::new(SystemClock);
        let (ids, kept) = (Arc::new(IdSource::new()), Duration::from_hours(24));
        let idempotency = Idempotency::start(store.clone(), ids, clock, kept, &tracker, &stop);
        Self { idempotency, store, tracker, stop, _dir: dir }
    }

    /// Sends a request whose work ends so.
    async fn send(
        &self,
        end: impl FnOnce(Uuid) -> Result<KeptAnswer, Undone<&'static str>> + Send + 'static,
    ) -> Result<Said, KeyedError<&'static str>> {
        self.idempotency.once(request("k"), async move |id| end(id)).await
    }
}

/// Work that has begun and ends when it is told to.
#[derive(Clone, Default)]
struct Held {
    begun: Arc<Notify>,
    go_on: Arc<Notify>,
}

impl Held {
    async fn work(self, id: Uuid) -> Result<KeptAnswer, Undone<&'static str>> {
        self.begun.notify_one();
        self.go_on.notified().await;
        Ok(answer(id))
    }
}

fn request(key: &str) -> KeyedRequest {
    let key = IdempotencyKey::read(key.as_bytes()).unwrap();
    KeyedRequest { caller: None, type_name: "t".into(), key, fingerprint: "f".into(), id: None }
}

fn answer(id: Uuid) -> KeptAnswer {
    KeptAnswer { status: 202, location: "/l".into(), body: id.to_string(), place: None }
}

#[tokio::test]
async fn a_request_whose_client_has_gone_is_done_to_its_end() {
    let rig = Rig::start().await;
    let held = Held::default();
    let work = held.clone();
    tokio::select! {
        said = rig.idempotency.once(request("k"), |id| work.work(id)) => panic!("an answer: {said:?}"),
        () = held.begun.notified() => {}
    }
    let twin = rig.send(|_| panic!("it is done twice")).await;
    assert!(matches!(twin, Err(KeyedError::InFlight)), "{twin:?}");
    held.go_on.notify_one();
    let said = loop {
        match rig.send(|_| panic!("it is done twice")).await {
            Err(KeyedError::InFlight) => tokio::task::yield_now().await,
            said => break said.unwrap(),
        }
    };
    assert!(said.is_replayed);
}

#[tokio::test]
async fn a_twin_waits_a_moment_for_the_answer() {
    let rig = Rig::start().await;
    let held = Held::default();
    let work = held.clone();
    let first = rig.idempotency.once(request("k"), |id| work.work(id));
    let twin = async {
        held.begun.notified().await;
        let twin = rig.send(|_| panic!("it is done twice"));
        // It is looked for before the first one ends.
        let (twin, ()) = tokio::join!(biased; twin, async { held.go_on.notify_one() });
        twin
    };
    let (first, twin) = tokio::join!(first, twin);
    let (first, twin) = (first.unwrap(), twin.unwrap());
    assert_eq!((twin.answer, twin.is_replayed), (first.answer, true));
}

#[tokio::test]
async fn what_failed_may_be_sent_again_under_its_id_where_it_may_have_been_done() {
    let rig = Rig::start().await;
    let (told, ids) = std::sync::mpsc::channel();
    for may_be_done in [false, true, false] {
        let told = told.clone();
        let failed = rig.send(move |id| {
            told.send(id).unwrap();
            Err(Undone { error: "no", may_be_done })
        });
        assert!(matches!(failed.await, Err(KeyedError::Failed("no"))));
    }
    let said = rig.send(|id| Ok(answer(id))).await.unwrap();
    let ids: Vec<Uuid> = ids.try_iter().collect();
    assert_ne!(ids[0], ids[1], "nothing was done under the first one");
    assert_eq!(ids[1], ids[2]);
    assert_eq!((said.answer.body, said.is_replayed), (ids[1].to_string(), false));
}

#[tokio::test]
async fn without_its_database_nothing_is_done() {
    let rig = Rig::start().await;
    rig.store.close().await;
    let refused = rig.send(|_| panic!("it is done")).await;
    assert!(matches!(refused, Err(KeyedError::Away)), "{refused:?}");
}

#[tokio::test]
async fn what_is_done_is_answered_although_it_cannot_be_written_down() {
    let rig = Rig::start().await;
    let store = rig.store.clone();
    let work = async move |id| {
        store.close().await;
        Ok::<_, Undone<&'static str>>(answer(id))
    };
    let said = rig.idempotency.once(request("k"), work).await.unwrap();
    assert!(!said.is_replayed);
    let again = rig.send(|_| panic!("it is done twice")).await.unwrap();
    assert_eq!((again.answer, again.is_replayed), (said.answer, true));
    let other = KeyedRequest { fingerprint: "g".into(), ..request("k") };
    let work = async |_| -> Result<KeptAnswer, Undone<&'static str>> { panic!("it is done") };
    let refused = rig.idempotency.once(other, work).await;
    assert!(matches!(refused, Err(KeyedError::OtherRequest)), "{refused:?}");
}

#[tokio::test]
async fn a_stop_comes_after_the_attempts_and_their_answers() {
    let rig = Rig::start().await;
    let held = Held::default();
    let work = held.clone();
    let late = rig.idempotency.once(request("late"), |id| work.work(id));
    let stopping = async {
        held.begun.notified().await;
        rig.stop.cancel();
        rig.tracker.close();
        held.go_on.notify_one();
    };
    let (said, ()) = tokio::join!(late, stopping);
    rig.tracker.wait().await;

    let scope = KeyScope { caller: String::new(), type_name: "t".into(), key: "late".into() };
    let twin = Reservation { scope, fingerprint: "f".into(), attempt: Uuid::now_v7() };
    let times = KeyTimes { now_ms: 0, held_until_ms: 0, forgotten_ms: 0 };
    let kept = rig.store.reserve_keys(&[twin], times).await.unwrap();
    assert_eq!(kept, [Reserved::Answered(said.unwrap().answer)]);
}

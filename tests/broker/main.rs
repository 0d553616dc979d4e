//! The local Kafka, for real: JVMs, kill -9, full restarts. Needs Java 17, and Maven the first time.
#![expect(clippy::expect_used, reason = "a test may stop at the first surprise")]

use std::env;
use std::fs;
use std::io::Write as _;
use std::net::TcpListener;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use jobgate::broker::{BrokerError, BrokerSettings, LocalKafka, NodeCount, NodeExit, Progress};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::{Instant, sleep, timeout};

/// Set in the process that plays jobgate: the data directory of the broker to start.
const PARENT: &str = "JOBGATE_TEST_BROKER_PARENT";
const TOPIC: &str = "kept";
/// For anything that Kafka does once it is up; reached only when something is wrong.
const SOON: Duration = Duration::from_secs(40);

/// JVMs start one test at a time, or a small machine makes them miss each other's deadlines.
async fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::const_new(());
    TURN.lock().await
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

fn three_nodes(folder: &Path) -> BrokerSettings {
    BrokerSettings { nodes: NodeCount::Three, heap_mib: 256, ..BrokerSettings::new(folder) }
}

async fn start(settings: BrokerSettings) -> (LocalKafka, Vec<Progress>) {
    let mut steps = Vec::new();
    let kafka = LocalKafka::start(settings, |step| steps.push(step)).await.expect("Kafka starts");
    (kafka, steps)
}

async fn run_tool(kafka: &LocalKafka, main_class: &str, arguments: &[&str], input: &str) -> String {
    let mut tool = kafka.tool(main_class);
    tool.args(["--bootstrap-server", kafka.bootstrap_servers()]).args(arguments);
    let mut tool = tool.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("java runs");
    let mut stdin = tool.stdin.take().expect("a pipe");
    stdin.write_all(input.as_bytes()).await.expect("the tool reads");
    drop(stdin);
    let output =
        timeout(SOON, tool.wait_with_output()).await.expect("the tool ends").expect("the tool ran");
    assert!(output.status.success(), "{main_class} failed");
    String::from_utf8(output.stdout).expect("text")
}

async fn create_topic(kafka: &LocalKafka) {
    let arguments = ["--create", "--topic", TOPIC, "--partitions", "3"];
    run_tool(kafka, "org.apache.kafka.tools.TopicCommand", &arguments, "").await;
}

async fn produce(kafka: &LocalKafka, record: &str) {
    // The tool gives up after three attempts, silently: sooner than the leadership of a frozen
    // node goes to another one.
    let properties = ["acks=all", "retries=1000", "delivery.timeout.ms=60000"];
    let properties = properties.iter().flat_map(|property| ["--command-property", *property]);
    let arguments: Vec<&str> = ["--topic", TOPIC].into_iter().chain(properties).collect();
    run_tool(kafka, "org.apache.kafka.tools.ConsoleProducer", &arguments, &format!("{record}\n"))
        .await;
}

/// The first `count` records of the topic, sorted.
async fn consume(kafka: &LocalKafka, count: usize) -> Vec<String> {
    let count = count.to_string();
    let arguments =
        ["--topic", TOPIC, "--from-beginning", "--max-messages", &count, "--timeout-ms", "30000"];
    let text =
        run_tool(kafka, "org.apache.kafka.tools.consumer.ConsoleConsumer", &arguments, "").await;
    let mut records: Vec<String> = text.lines().map(str::to_owned).collect();
    records.sort();
    records
}

fn pid(id: u32) -> Pid {
    Pid::from_raw(i32::try_from(id).expect("a small id")).expect("not zero")
}

fn java_of(kafka: &LocalKafka, node: usize) -> Pid {
    pid(kafka.java_id(node).expect("it runs"))
}

/// The kernel gives no signal for the end of a process that is not ours, so it is asked until the deadline.
async fn until_gone(process: Pid) {
    let deadline = Instant::now() + SOON;
    while test_kill_process(process).is_ok() {
        assert!(Instant::now() < deadline, "process {process:?} is still there");
        sleep(Duration::from_millis(20)).await;
    }
}

/// Processes that run in the folder, by the folder they run in (Linux only; elsewhere none are seen).
fn processes_in(folder: &Path) -> Vec<String> {
    let folder = folder.canonicalize().expect("it exists");
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    let inside = |entry: &fs::DirEntry| {
        fs::read_link(entry.path().join("cwd")).is_ok_and(|cwd| cwd.starts_with(&folder))
    };
    processes
        .flatten()
        .filter(inside)
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

async fn until_nobody_in(folder: &Path) {
    let deadline = Instant::now() + SOON;
    loop {
        let left = processes_in(folder);
        if left.is_empty() {
            return;
        }
        assert!(Instant::now() < deadline, "left behind: {left:?}");
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn records_survive_a_restart_and_a_change_of_ports() {
    let _turn = turn().await;
    let folder = folder();
    let (kafka, steps) = start(BrokerSettings::new(folder.path())).await;
    assert!(steps.contains(&Progress::Formatting));
    assert!(matches!(steps.last(), Some(Progress::Ready { .. })), "{steps:?}");
    let address = kafka.bootstrap_servers().to_owned();
    let written =
        fs::read_to_string(folder.path().join("kafka/brokers")).expect("the address file");
    assert_eq!(written.trim_end(), address);
    create_topic(&kafka).await;
    produce(&kafka, "first").await;
    let java = java_of(&kafka, 1);
    kafka.stop().await.expect("stops gently");
    assert!(test_kill_process(java).is_err(), "stop waits for the end");
    until_nobody_in(folder.path()).await;

    let (kafka, steps) = start(BrokerSettings::new(folder.path())).await;
    assert!(!steps.contains(&Progress::Formatting));
    assert_eq!(kafka.bootstrap_servers(), address, "the address is stable");
    produce(&kafka, "second").await;
    kafka.stop().await.expect("stops gently");

    // Both ports are taken, the controller's too.
    let remembered = fs::read_to_string(folder.path().join("kafka/cluster")).expect("the state");
    let ports = remembered
        .lines()
        .nth(1)
        .expect("one node")
        .split(' ')
        .map(|port| port.parse().expect("a port"));
    let _squatters: Vec<TcpListener> =
        ports.map(|port: u16| TcpListener::bind(("127.0.0.1", port)).expect("free now")).collect();
    let (kafka, steps) = start(BrokerSettings::new(folder.path())).await;
    assert!(
        steps.iter().any(|step| matches!(step, Progress::PortChanged { node: 1, .. })),
        "{steps:?}"
    );
    assert_ne!(kafka.bootstrap_servers(), address);
    assert_eq!(consume(&kafka, 2).await, ["first", "second"]);
    kafka.stop().await.expect("stops gently");
}

#[tokio::test]
async fn a_killed_node_is_reported_and_comes_back_with_its_records() {
    let _turn = turn().await;
    let folder = folder();
    let (mut kafka, _) = start(BrokerSettings::new(folder.path())).await;
    create_topic(&kafka).await;
    produce(&kafka, "first").await;

    kill_process(java_of(&kafka, 1), Signal::KILL).expect("it runs");
    let NodeExit { node, status, .. } =
        timeout(SOON, kafka.exited()).await.expect("its end is noticed");
    assert_eq!((node, status.as_str()), (1, "signal 9"));
    assert!(matches!(kafka.freeze_node(1), Err(BrokerError::NotRunning { node: 1 })));
    assert!(matches!(kafka.freeze_node(2), Err(BrokerError::NoSuchNode { node: 2 })));

    kafka.restart_node(1).await.expect("starts again");
    assert_eq!(consume(&kafka, 1).await, ["first"]);
    // A node that is killed on purpose is no surprise.
    kafka.kill_node(1).await.expect("it runs");
    assert!(timeout(Duration::from_millis(300), kafka.exited()).await.is_err());
    kafka.stop().await.expect("nothing to stop");
}

#[tokio::test]
async fn three_nodes_lose_one_and_go_on() {
    let _turn = turn().await;
    let folder = folder();
    let (mut kafka, _) = start(three_nodes(folder.path())).await;
    assert_eq!(kafka.bootstrap_servers().split(',').count(), 3);
    create_topic(&kafka).await;
    produce(&kafka, "with three").await;
    kafka.kill_node(2).await.expect("it runs");
    produce(&kafka, "with two").await;
    kafka.restart_node(2).await.expect("it comes back");
    kafka.freeze_node(1).expect("it runs");
    produce(&kafka, "one is frozen").await;
    kafka.thaw_node(1).expect("it is there");
    assert_eq!(consume(&kafka, 3).await, ["one is frozen", "with three", "with two"]);
    // A gentle restart, and then a stop while one node is frozen.
    kafka.restart_node(3).await.expect("it comes back");
    kafka.freeze_node(1).expect("it runs");
    kafka.stop().await.expect("stops gently");
    until_nobody_in(folder.path()).await;
}

#[tokio::test]
async fn dropping_it_ends_it() {
    let _turn = turn().await;
    let folder = folder();
    let (kafka, _) = start(BrokerSettings::new(folder.path())).await;
    let java = java_of(&kafka, 1);
    drop(kafka);
    until_gone(java).await;
    until_nobody_in(folder.path()).await;
}

#[tokio::test]
async fn a_stop_whose_time_is_over_kills() {
    let _turn = turn().await;
    let folder = folder();
    let (kafka, _) = start(BrokerSettings::new(folder.path())).await;
    let stopped = kafka.stop_within(Duration::ZERO).await;
    assert!(matches!(stopped, Err(BrokerError::Killed { node: 1 })), "{stopped:?}");
    until_nobody_in(folder.path()).await;
    let (kafka, _) = start(BrokerSettings::new(folder.path())).await;
    kafka.stop().await.expect("the next start is as any other");
}

#[tokio::test]
async fn a_start_that_is_dropped_leaves_nothing_behind() {
    let _turn = turn().await;
    let folder = folder();
    for stage in [Progress::Formatting, Progress::Starting] {
        let (seen, mut reached) = tokio::sync::mpsc::unbounded_channel();
        let start = LocalKafka::start(BrokerSettings::new(folder.path()), move |step| {
            let _ = seen.send(step);
        });
        let running = async {
            while reached.recv().await != Some(stage) {}
            // The JVM itself must be there, or there is nothing to leave behind.
            let deadline = Instant::now() + SOON;
            while processes_in(folder.path()).is_empty() && Instant::now() < deadline {
                sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::select! {
            _ = start => assert!(!cfg!(target_os = "linux"), "dropped too late"),
            () = running => {}
        }
        until_nobody_in(folder.path()).await;
    }
    let (kafka, _) = start(BrokerSettings::new(folder.path())).await;
    kafka.stop().await.expect("the next start is as any other");
}

#[tokio::test]
async fn a_jvm_that_dies_early_is_an_error_at_once() {
    let folder = folder();
    let settings = BrokerSettings { heap_mib: 1, ..BrokerSettings::new(folder.path()) };
    let error = timeout(SOON, LocalKafka::start(settings, |_| ()))
        .await
        .expect("at once")
        .expect_err("no heap");
    let BrokerError::Died { node: 1, log, .. } = &error else {
        unreachable!("not the error of a dead JVM: {error}")
    };
    assert!(log.contains("heap"), "the reason is shown: {error}");
    until_nobody_in(folder.path()).await;
}

/// As when two start at once, and pick the same port.
#[tokio::test]
async fn a_port_that_is_taken_at_the_last_moment_is_replaced() {
    let _turn = turn().await;
    let folder = folder();
    let state = folder.path().join("kafka").join("cluster");
    let mut taken = None;
    let mut moves = Vec::new();
    let kafka = LocalKafka::start(BrokerSettings::new(folder.path()), |step| match step {
        Progress::Starting => {
            let text = fs::read_to_string(&state).expect("what is remembered");
            let ports = text.lines().nth(1).expect("those of node 1");
            let port: u16 = ports.split(' ').next().expect("a port").parse().expect("a number");
            taken = Some(TcpListener::bind(("127.0.0.1", port)).expect("it is free"));
        }
        Progress::PortChanged { from, to, .. } => moves.push((from, to)),
        _ => {}
    });
    let kafka = kafka.await.expect("Kafka starts");
    let port = taken.expect("it was taken").local_addr().expect("an address").port();
    let [(from, to)] = moves[..] else { unreachable!("it was to move once: {moves:?}") };
    assert_eq!((from, kafka.bootstrap_servers()), (port, format!("127.0.0.1:{to}").as_str()));
    create_topic(&kafka).await;
    kafka.stop().await.expect("it stops");
}

#[tokio::test]
async fn a_data_directory_in_use_is_refused() {
    let folder = folder();
    let (kafka, _) = start(BrokerSettings::new(folder.path())).await;
    let mut steps = Vec::new();
    let second =
        LocalKafka::start(BrokerSettings::new(folder.path()), |step| steps.push(step)).await;
    assert!(matches!(second, Err(BrokerError::InUse { .. })), "{second:?}");
    assert_eq!(steps, [Progress::WaitingForFormer]);
    kafka.stop().await.expect("the first is unharmed");
}

#[tokio::test]
async fn after_kill_9_of_the_parent_nothing_is_left_and_the_next_start_waits() {
    let _turn = turn().await;
    let folder = folder();
    let mut parent = spawn_parent(folder.path());
    let java = pid(reported_java(&mut parent).await);
    test_kill_process(java).expect("Kafka runs");
    parent.start_kill().expect("SIGKILL");
    parent.wait().await.expect("it is our child");

    let (kafka, steps) = start(BrokerSettings::new(folder.path())).await;
    assert!(steps.contains(&Progress::WaitingForFormer), "{steps:?}");
    assert!(
        test_kill_process(java).is_err(),
        "the former Kafka is gone before the next one starts"
    );
    kafka.stop().await.expect("stops gently");

    let mut parent = spawn_parent(folder.path());
    let java = pid(reported_java(&mut parent).await);
    parent.start_kill().expect("SIGKILL");
    parent.wait().await.expect("it is our child");
    until_gone(java).await;
    until_nobody_in(folder.path()).await;
}

/// This very test program, told to be jobgate: see [`the_parent`].
fn spawn_parent(folder: &Path) -> Child {
    let mut command = Command::new(env::current_exe().expect("this program"));
    command.args(["--exact", "the_parent", "--nocapture"]).env(PARENT, folder);
    command.stdout(Stdio::piped()).kill_on_drop(true).spawn().expect("it runs")
}

async fn reported_java(parent: &mut Child) -> u32 {
    let mut lines = BufReader::new(parent.stdout.take().expect("a pipe")).lines();
    let find = async {
        while let Some(line) = lines.next_line().await.expect("text") {
            if let Some((_, id)) = line.split_once("java=") {
                return id.trim().parse().expect("a process id");
            }
        }
        unreachable!("the parent ended");
    };
    timeout(SOON, find).await.expect("the parent starts Kafka")
}

/// Not a test of its own: the process that [`spawn_parent`] starts, which runs Kafka until it is killed.
#[tokio::test]
async fn the_parent() {
    let Some(folder) = env::var_os(PARENT) else { return };
    let (kafka, _) = start(BrokerSettings::new(folder)).await;
    let id = kafka.java_id(1).expect("it runs");
    // Past the harness, which would keep the line to itself.
    writeln!(std::io::stdout(), "java={id}").expect("somebody reads");
    std::future::pending::<()>().await;
}

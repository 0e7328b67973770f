use transom_api::testing::{FakeNetworkUse, FakeWorker};

use super::*;

fn built(
    worker: &mut FakeWorker,
    entries: impl IntoIterator<Item = (&'static str, Node)>,
) -> FakeNetworkUse {
    worker
        .network_builtin::<Fault>(&Node::map(entries))
        .unwrap()
}

fn rate(bytes: i64, direction: &str) -> [(&'static str, Node); 1] {
    let map = [
        ("bytes_per_second", bytes.into()),
        ("direction", direction.into()),
    ];
    [("rate_limit", Node::map(map))]
}

#[test]
fn a_delayed_connection_begins_when_its_time_is_over() {
    let mut worker = FakeWorker::new();
    let used = built(
        &mut worker,
        [("delay", Node::map([("duration", "200ms".into())]))],
    );
    let mut connection = used.connection();
    assert_eq!(connection.begin(), Some(NetworkVerdict::StopIteration));
    connection.advance(Duration::from_millis(199));
    assert!(!connection.timers().is_empty());
    connection.advance(Duration::from_millis(1));
    assert!(!connection.is_closed());
    connection.data("abc", false);
    assert_eq!(connection.sent(Direction::Request), b"abc");
    assert_eq!(worker.process().metric("network_fault_delays_total"), 1);
}

#[test]
fn an_aborted_connection_is_closed_at_once_or_after_its_delay() {
    let mut worker = FakeWorker::new();
    for reset in [false, true] {
        let used = built(
            &mut worker,
            [("abort", Node::map([("reset", reset.into())]))],
        );
        let mut connection = used.connection();
        connection.begin();
        assert!(connection.is_closed());
        assert_eq!(connection.is_reset(), reset);
    }
    let used = built(
        &mut worker,
        [
            ("delay", Node::map([("duration", "1s".into())])),
            ("abort", Node::map([])),
        ],
    );
    let mut connection = used.connection();
    connection.begin();
    assert!(!connection.is_closed());
    connection.advance(Duration::from_secs(1));
    assert!(connection.is_closed());
    assert_eq!(worker.process().metric("network_fault_aborts_total"), 3);
}

#[test]
fn shares_are_drawn() {
    let mut worker = FakeWorker::new();
    let abort = Node::map([("percentage", 25.0.into())]);
    let used = built(&mut worker, [("abort", abort)]);
    let closed = (0..4_000)
        .filter(|_| {
            let mut connection = used.connection();
            connection.begin();
            connection.is_closed()
        })
        .count();
    // A thousand; five standard deviations are 137.
    assert!((860..1_140).contains(&closed), "{closed}");
}

#[test]
fn bytes_pass_at_their_rate_in_order_and_with_their_end() {
    let mut worker = FakeWorker::new();
    let used = built(&mut worker, rate(100, "received"));
    let mut connection = used.connection();
    connection.begin();
    let sent: Vec<u8> = (0..12).collect();
    connection.data(&sent, true);
    // Five in each twentieth of a second.
    for expected in [5, 10] {
        assert_eq!(connection.sent(Direction::Request), &sent[..expected]);
        assert!(!connection.has_ended(Direction::Request));
        connection.advance(TICK);
    }
    assert_eq!(connection.sent(Direction::Request), sent);
    assert!(connection.has_ended(Direction::Request));
    // The other direction is not slowed.
    connection.write([7; 1000], false);
    assert_eq!(connection.sent(Direction::Response).len(), 1000);
}

#[test]
fn a_rate_below_one_byte_a_tick_passes_some() {
    let mut worker = FakeWorker::new();
    let used = built(&mut worker, rate(3, "sent"));
    let mut connection = used.connection();
    connection.begin();
    connection.write("abcdef", false);
    connection.advance(Duration::from_secs(1));
    assert_eq!(connection.sent(Direction::Response), b"abc");
    connection.advance(Duration::from_secs(1));
    assert_eq!(connection.sent(Direction::Response), b"abcdef");
}

#[test]
fn what_is_not_used_is_not_saved() {
    let mut bucket = Bucket::new(1000);
    for _ in 0..100 {
        bucket.fill();
    }
    assert_eq!(bucket.take(usize::MAX), 50);
    assert_eq!(bucket.take(1), 0);
}

#[test]
fn what_makes_no_sense_is_refused() {
    let refused = |entries: &[(&'static str, Node)]| {
        let entries = entries.iter().map(|(key, node)| (*key, node.clone()));
        Fault::parse(&Node::map(entries)).unwrap_err().message
    };
    assert_eq!(refused(&[]), "this is no fault");
    assert_eq!(
        refused(&[("delay", Node::map([("duration", "0s".into())]))]),
        "a delay must be longer than nothing"
    );
    assert_eq!(
        refused(&rate(0, "both")),
        "at this rate nothing passes, ever"
    );
    assert_eq!(refused(&rate(1, "up")), "unknown direction \"up\"");
    let too_many = Node::map([("percentage", 101.0.into())]);
    assert!(refused(&[("abort", too_many)]).contains("from 0 to 100"));
}

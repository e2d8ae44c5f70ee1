//! A lane without a runtime.

use super::*;
use block_core::turns::Turns;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::os::fd::AsFd;

fn requests(bench: &Bench, n: u64) -> Vec<Request> {
    let mut requests: Vec<_> = (0..n).map(|n| bench.request(read(n * 100))).collect();
    for request in &mut requests {
        assert!(request.poll().is_none());
    }
    requests
}

fn is_readable(bench: &Bench) -> bool {
    let mut fds = [PollFd::new(bench.lane.events.as_fd(), PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::ZERO).unwrap() == 1
}

fn ends(request: &mut Request) -> bool {
    matches!(request.poll(), Some(Answer::Ended((_, Ok(16)), _)))
}

#[test]
fn requests_wait_for_the_threads_turn_and_are_submitted_together() {
    let mut turns = Turns::begin().unwrap();
    let bench = Bench::own();
    let mut requests = requests(&bench, 3);
    assert!(bench.script.submitted().is_empty() && bench.script.taken().is_empty());
    assert!(!turns.take());
    assert_eq!(bench.script.history(), [0, 100, 200]);
    let mut watched = 0;
    assert!(turns.watch(|_, _| {
        watched += 1;
        true
    }));
    assert_eq!((watched, is_readable(&bench)), (1, false));
    for call in bench.script.taken() {
        bench.script.complete(call, 16);
    }
    assert!(is_readable(&bench));
    assert!(turns.take(), "tasks were woken");
    assert!(requests.iter_mut().all(|request| request.is_woken() && ends(request)));
    assert!(!turns.take());
    turns.told(0);
    assert!(turns.watch(|_, _| panic!("nothing is under way")));
    bench.check_all_given_back();
}

#[test]
fn a_write_that_is_alone_is_made_at_once_and_others_wait_for_the_turn() {
    let mut turns = Turns::begin().unwrap();
    let bench = Bench::own();
    let write = |offset| bench.request(What { writes: true, offset, lens: vec![16], last: true });
    let mut requests = [write(0), write(100), write(200)];
    for request in &mut requests {
        assert!(request.poll().is_none());
    }
    assert_eq!(bench.script.history(), [0]);
    assert!(!turns.take());
    assert_eq!(bench.script.history(), [0, 100, 200]);
    bench.script.oblige();
    assert!(turns.take());
    assert!(requests.iter_mut().all(ends));
    assert!(ends(&mut write(300)), "in its first poll");
    assert!(!turns.take());
    bench.check_all_given_back();
}

#[test]
fn what_ends_at_once_ends_in_the_turn_that_submits_it() {
    let mut turns = Turns::begin().unwrap();
    let bench = Bench::own();
    bench.script.oblige();
    for _ in 0..100 {
        let mut requests = requests(&bench, 2);
        assert!(turns.take());
        assert!(requests.iter_mut().all(ends));
    }
    bench.check_all_given_back();
}

#[test]
fn a_kernel_that_puts_everything_off_keeps_the_thread_awake() {
    let mut turns = Turns::begin().unwrap();
    let bench = Bench::own();
    bench.script.answer(Err(nix::libc::EAGAIN));
    let mut requests = requests(&bench, 1);
    assert!(turns.take(), "nothing would wake it");
    bench.script.oblige();
    assert!(turns.take());
    assert!(ends(&mut requests[0]));
}

#[test]
fn a_thread_waits_for_what_the_owner_of_a_lane_leaves_behind() {
    let mut turns = Turns::begin().unwrap();
    let bench = Bench::own();
    let mut requests = requests(&bench, 3);
    turns.take();
    assert_eq!(bench.script.taken().len(), 3);
    requests.remove(1);
    drop(turns);
    assert!(matches!(bench.request(read(0)).poll(), Some(Answer::Refused(..))));
    bench.script.oblige();
    bench.until(|| requests.iter().all(Request::is_woken));
    assert!(requests.iter_mut().all(ends));
    bench.until(|| Arc::strong_count(&bench.lane) == 1);
    bench.check_all_given_back();
}

#[test]
fn a_lane_of_which_nobody_takes_turns_takes_nothing() {
    let bench = Bench::own();
    assert!(matches!(bench.request(read(0)).poll(), Some(Answer::Refused(..))));
    bench.check_all_given_back();
}

#[test]
fn a_lane_that_is_closed_leaves_its_thread() {
    let mut turns = Turns::begin().unwrap();
    let bench = Bench::own();
    let mut requests = requests(&bench, 1);
    turns.take();
    assert!(!bench.lane.close());
    bench.script.oblige();
    turns.take();
    assert!(ends(&mut requests[0]));
    turns.take();
    assert_eq!(Arc::strong_count(&bench.lane), 1);
}

#[test]
fn a_request_from_another_thread_is_refused_rather_than_left_to_the_owners_turn() {
    let mut turns = Turns::begin().unwrap();
    let bench = Bench::own();
    for takes_turns in [false, true] {
        let mut request = bench.request(read(0));
        let poll = move || {
            let _turns = takes_turns.then(|| Turns::begin().unwrap());
            matches!(request.poll(), Some(Answer::Refused(..)))
        };
        assert!(std::thread::spawn(poll).join().unwrap());
    }
    bench.script.oblige();
    let mut requests = requests(&bench, 1);
    assert!(turns.take());
    assert!(ends(&mut requests[0]), "the owner's are taken as before");
    bench.check_all_given_back();
}

//! Single schedules that matter.

use super::super::state::MAX_REFUSALS;
use super::*;
use nix::libc::{EAGAIN, ECANCELED, EINVAL};

/// Begins requests that the kernel takes.
fn begin(bench: &Bench, n: u64) -> Vec<Request> {
    let mut requests: Vec<_> = (0..n).map(|n| bench.request(read(n * 100))).collect();
    for request in &mut requests {
        assert!(request.poll().is_none());
    }
    bench.drive();
    requests
}

/// Completes wholly whatever the kernel has, from another thread and a little later.
fn complete_later(bench: &Bench) -> std::thread::JoinHandle<()> {
    let script = bench.script.clone();
    std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(20));
        for call in script.taken() {
            script.complete(call, call.len() as i32);
        }
    })
}

fn moved(answer: Option<Answer>) -> Result<usize, i32> {
    match answer.expect("it has ended") {
        Answer::Ended((_, result), _) => result.map_err(|e| e.raw_os_error().unwrap()),
        Answer::Refused(..) => panic!("refused"),
    }
}

/// A runtime ends with requests in flight: two of another runtime's tasks, and two that were dropped.
fn end_with_requests_in_flight(threads: bool) {
    let mut bench = Bench::new();
    let mut requests = begin(&bench, 6);
    assert_eq!(bench.script.taken().len(), 4);
    requests.drain(1..3);
    assert!(bench.script.taken().len() == 4 && bench.in_flight.count() == 6);
    let kernel = complete_later(&bench);
    NO_THREADS.set(!threads);
    bench.runtime = None;
    NO_THREADS.set(false);
    // Those that the kernel has not taken are told at once.
    for request in &mut requests[2..] {
        assert!(request.is_woken());
        assert_eq!(moved(request.poll()), Err(ECANCELED));
    }
    bench.until(|| requests[..2].iter().all(Request::is_woken));
    for request in &mut requests[..2] {
        assert_eq!(moved(request.poll()), Ok(16));
        request.check_filled(16);
    }
    kernel.join().unwrap();
    bench.until(|| Arc::strong_count(&bench.lane) == 1);
    bench.check_all_given_back();
    let mut late = bench.request(read(0));
    assert!(matches!(late.poll(), Some(Answer::Refused(..))));
}

#[test]
fn a_thread_waits_for_what_a_runtime_leaves_behind() {
    end_with_requests_in_flight(true);
}

#[test]
fn without_a_thread_the_end_of_a_runtime_waits_itself() {
    end_with_requests_in_flight(false);
}

#[test]
fn a_kernel_that_never_takes_anything_is_given_up() {
    let bench = Bench::new();
    (0..=MAX_REFUSALS).for_each(|_| bench.script.answer(Err(EAGAIN)));
    let mut request = bench.request(read(0));
    assert!(request.poll().is_none());
    bench.until(|| request.is_woken());
    assert_eq!(moved(request.poll()), Err(ECANCELED));
    assert!(bench.lane.is_retired());
    bench.check_all_given_back();
}

#[test]
fn a_kernel_that_is_busy_is_waited_for() {
    let bench = Bench::new();
    let mut requests = begin(&bench, 1);
    (0..2 * MAX_REFUSALS).for_each(|_| bench.script.answer(Err(EAGAIN)));
    requests.push(bench.request(read(100)));
    assert!(requests[1].poll().is_none());
    for _ in 0..MAX_REFUSALS / 2 {
        bench.drive();
    }
    assert!(!bench.lane.is_retired(), "what is in flight will free what the kernel lacks");
    bench.script.oblige();
    bench.until(|| requests.iter().all(Request::is_woken));
    assert!(requests.iter_mut().all(|request| moved(request.poll()) == Ok(16)));
}

#[test]
fn a_ring_that_the_kernel_refuses_ends_what_it_has_not_taken_and_waits_for_the_rest() {
    let bench = Bench::new();
    let mut requests = begin(&bench, 2);
    bench.script.answer(Err(EINVAL));
    requests.push(bench.request(read(200)));
    assert!(requests[2].poll().is_none());
    bench.until(|| requests[2].is_woken());
    assert_eq!(moved(requests[2].poll()), Err(ECANCELED));
    assert!(bench.lane.is_retired() && requests[0].is_held() && requests[1].is_held());
    bench.script.oblige();
    bench.until(|| requests[..2].iter().all(Request::is_woken));
    assert!(requests[..2].iter_mut().all(|request| moved(request.poll()) == Ok(16)));
    bench.check_all_given_back();
}

#[test]
fn a_request_that_is_alone_is_submitted_and_reaped_in_its_own_poll() {
    let bench = Bench::new();
    bench.drive();
    bench.script.oblige();
    let mut request = bench.request(read(0));
    assert_eq!(moved(request.poll()), Ok(16));
    bench.check_all_given_back();
}

#[test]
fn between_two_calls_a_request_that_nobody_polls_is_not_under_way() {
    let bench = Bench::new();
    let mut requests = begin(&bench, 2);
    let calls = bench.script.taken();
    bench.script.complete(calls[0], 7);
    bench.until(|| requests[0].is_woken());
    assert_eq!(bench.in_flight.count(), 1, "a settle waits for the other one alone");
    bench.script.complete(calls[1], -EAGAIN);
    bench.until(|| bench.in_flight.count() == 0);
    for (request, expected) in requests.iter_mut().zip([Ok(7), Err(EAGAIN)]) {
        let Some(Answer::Ended((_, result), Some(mut held))) = request.poll() else {
            panic!("there is more to do for it");
        };
        assert_eq!(result.map_err(|e| e.raw_os_error().unwrap()), expected);
        held.guard.resume();
        assert_eq!(bench.in_flight.count(), 1, "it goes on");
    }
    bench.check_all_given_back();
}

/// A request whose memory, when it is freed, drops another one of the same lane.
fn owner_of(bench: &Bench, other: Request) -> Pin<Box<dyn Future<Output = Answer> + Send>> {
    let memory = Memory::Fill(Lent::to_fill_then(16, move || drop(other)).into());
    let transfer =
        Transfer { memory, at: Cursor::default(), offset: 0, last: true, at_once: false };
    let held = Held { file: Arc::clone(&bench.file), guard: bench.in_flight.start() };
    let lane = Arc::clone(&bench.lane);
    Box::pin(async move { lane.transfer(transfer, held).await })
}

#[test]
fn memory_is_freed_outside_of_the_lock() {
    let story = || {
        let bench = Bench::new();
        let mut nobody = Context::from_waker(Waker::noop());
        let mut others = begin(&bench, 3);
        let mut begin = |request: &mut Pin<Box<dyn Future<Output = Answer> + Send>>| {
            assert!(request.as_mut().poll(&mut nobody).is_pending());
        };
        // One that the kernel has, is given up, and ends.
        let mut gone = owner_of(&bench, others.remove(0));
        begin(&mut gone);
        bench.drive();
        assert_eq!(bench.script.taken().len(), 4);
        // One that is withdrawn.
        let mut withdrawn = owner_of(&bench, others.remove(0));
        begin(&mut withdrawn);
        drop(withdrawn);
        drop(gone);
        // One that is given up after its end.
        let mut ended = owner_of(&bench, others.remove(0));
        begin(&mut ended);
        bench.script.oblige();
        bench.drive();
        bench.until(|| bench.in_flight.count() == 0);
        drop(ended);
        bench.drive();
        bench.check_all_given_back();
    };
    let (done, heard) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        story();
        done.send(()).unwrap();
    });
    heard.recv_timeout(PATIENCE).expect("it does not lock twice");
}

//! What `{:?}` shows of every public type is read by a person: it is short
//! whatever the thing holds, tells of no locks, cells or addresses, and waits
//! for nobody.
//!
//! What grows with use (items, keys, lines, stages) is counted or cut, and so
//! is a text that came with the input. A value, an error or a name that the
//! caller gave shows itself, however long it is.
#![cfg(not(loom))]
#![allow(missing_docs, reason = "a test binary")]

use selvedge::cancel::Token;
use selvedge::counter::{SafeCounter, StripedCounter};
use selvedge::gather::{self, gather};
use selvedge::map::Backend;
use selvedge::offload;
use selvedge::outcome::{Cancelled, Crash, Outcome, Outcomes, Panic, TimedOut};
use selvedge::pipeline::{Bound, Error, Flow, Input, Meter, Overflow, Pipeline, Record};
use selvedge::queue;
use selvedge::rate::{self, Gcra, Limiter, Rate};
use selvedge::semaphore::Semaphore;
use selvedge::threads::{OnError, Threads};
use selvedge::timeout::{self, Deadline, with_timeout};
use selvedge::{nz, scope};
use std::fmt::Debug;
use std::future::{pending, ready};
use std::sync::{Arc, mpsc};
use std::time::Duration;
use tokio_test::task::spawn;

/// Longest `{:?}` of a block, and of a report that has several parts.
const SHORT: usize = 600;
const REPORT: usize = 1000;

const SECOND: Duration = Duration::from_secs(1);

#[track_caller]
fn shown(thing: &dyn Debug) -> String {
    shown_within(thing, SHORT)
}

#[track_caller]
fn shown_within(thing: &dyn Debug, most: usize) -> String {
    let (text, pretty) = (format!("{thing:?}"), format!("{thing:#?}"));
    assert!(!text.is_empty() && text.len() <= most, "{} bytes: {text}", text.len());
    assert!(pretty.len() <= 4 * most, "{} bytes: {pretty}", pretty.len());
    for text in [&text, &pretty] {
        for internal in ["UnsafeCell", "0x", "Mutex", "Atomic", "Ticket", "Slab", "Turn"] {
            assert!(!text.contains(internal), "{internal} in {text}");
        }
    }
    text
}

fn long() -> String {
    "k".repeat(100_000)
}

#[test]
fn queues() {
    let (tx, rx) = queue::bounded(nz!(10_000));
    (0..10_000).for_each(|n| tx.try_send(n).unwrap());
    assert!(shown(&tx).contains("len: 10000"));
    assert!(shown(&rx).contains("len: 10000"));
    for error in [tx.try_send(1).unwrap_err(), tx.try_send(2).unwrap_err()] {
        shown(&error);
    }
    shown(&tx.send_timeout(1, Duration::ZERO).unwrap_err());
    let mut sending = spawn(tx.send_async(1));
    assert!(sending.poll().is_pending());
    shown(&tx.send_async(1));
    shown(&tx.send_async(1).by_deadline());
    let (_idle, empty) = queue::bounded::<Vec<u64>>(nz!(1));
    let mut receiving = spawn(empty.recv_async());
    assert!(receiving.poll().is_pending());
    assert!(shown(&*receiving).contains("waiting: true"));
    shown(&empty.recv_many_async(&mut Vec::new(), nz!(7)));
    shown(&empty.iter());
    shown(&empty.try_iter());
    shown(&empty.clone().into_iter());
    let mut stream = spawn(empty.clone().into_stream());
    assert!(stream.poll_next().is_pending());
    assert!(shown(&*stream).contains("waiting: true"));
    shown(&empty.try_recv().unwrap_err());
    shown(&empty.recv_timeout(Duration::ZERO).unwrap_err());
    drop(sending);
    let producer = tx.clone().into_producer();
    shown(&producer);
    drop((tx, producer));
    let mut rest = Vec::new();
    let closed = loop {
        match rx.recv() {
            Ok(item) => rest.push(item),
            Err(closed) => break closed,
        }
    };
    assert_eq!(shown(&closed), "Closed(Abandoned)");
    shown(&queue::SenderPanicked);
}

#[test]
fn semaphores_tokens_and_counters() {
    let semaphore = Arc::new(Semaphore::new(3));
    let permit = semaphore.try_acquire_many(3).unwrap();
    let mut waiters: Vec<_> = (0..1000).map(|_| spawn(semaphore.acquire())).collect();
    waiters.iter_mut().for_each(|waiter| assert!(waiter.poll().is_pending()));
    assert!(shown(&semaphore).contains("waiting: true"));
    shown(&permit);
    shown(&*waiters[0]);
    shown(&Semaphore::acquire_owned(&semaphore, 2));
    shown(&semaphore.try_acquire().unwrap_err());
    semaphore.close();
    shown(&semaphore.acquire_blocking(1).unwrap_err());

    let token = Token::new();
    let children: Vec<_> = (0..1000).map(|_| token.child()).collect();
    let mut waiting = spawn(token.cancelled());
    assert!(waiting.poll().is_pending());
    shown(&*waiting);
    shown(&children[0].clone().drop_guard());
    token.cancel_because("enough");
    shown(&token);
    shown(&token.cause());

    let counter = SafeCounter::with_value(u64::MAX);
    shown(&counter);
    shown(&counter.inc_by(1).unwrap_err());
    let striped = StripedCounter::new();
    let writers: Vec<_> = (0..100).map(|_| striped.writer()).collect();
    writers.iter().for_each(|writer| writer.inc_by(u64::MAX));
    shown(&striped);
    shown(&writers[0]);
}

#[test]
fn limiters() {
    let limiter = Arc::new(Limiter::builder(Rate::per_second(nz!(1))).burst(nz!(2)).build());
    shown(&Limiter::builder(Rate::per_second(nz!(1))));
    limiter.try_acquire(2).unwrap();
    shown(&limiter.rate());
    shown(&limiter.stats());
    shown(&limiter.try_acquire(1).unwrap_err());
    shown(&limiter.try_acquire(3).unwrap_err());
    shown(&Gcra::new(Rate::per_second(nz!(1)), 1, 0));
    shown(&limiter.acquire(1));
    shown(&limiter.reserve(1));
    let many: Vec<u64> = (0..10_000).collect();
    shown(&rate::rate_limited_iter(many.clone(), Arc::clone(&limiter)));
    let items = rate::FromIter::new(many);
    shown(&items);
    shown(&rate::rate_limited_stream(items, Arc::clone(&limiter)));
    shown(&limiter);
}

#[tokio::test(start_paused = true)]
async fn timeouts() {
    let elapsed = with_timeout(pending::<()>(), SECOND).named("short").await.unwrap_err();
    assert!(shown(&elapsed).contains("remaining: 0ns"), "{elapsed:?}");
    shown(&TimedOut::from(elapsed));
    assert!(shown(&Deadline::after(Duration::MAX)).contains("for ever"));
    let five = Deadline::after(5 * SECOND);
    assert!(shown(&five).contains("remaining: 5s"), "{five:?}");
    shown(&with_timeout(ready(1), SECOND));
    shown(&with_timeout(ready(1), SECOND).or_grace(Token::new(), SECOND));
    shown(&with_timeout(ready(1), SECOND).or_grace(Token::new(), SECOND).await);
    shown(&with_timeout(ready(1), SECOND).or_detach());
    shown(&with_timeout(pending::<()>(), SECOND).or_detach().await.unwrap_err());
    shown(&timeout::free(ready(1)));
    shown(&timeout::inherit(Some(five), ready(1)));
    let (tell, told) = mpsc::channel();
    let slow = std::future::poll_fn(|_| {
        std::thread::sleep(Duration::from_millis(2));
        std::task::Poll::Ready(())
    });
    let tell = move |overrun| tell.send(format!("{overrun:?}")).unwrap();
    let _ = with_timeout(slow, Duration::ZERO).on_overrun(tell).await;
    drop(told);
    shown(&timeout::Overrun { deadline: five, by: SECOND, ready: true });
}

#[test]
fn outcomes() {
    let ends: Outcomes<u64, String> = (0..10_000)
        .map(|n| if n == 4321 { Outcome::Err("odd".to_owned()) } else { Outcome::Ok(n) })
        .collect();
    let text = shown(&ends);
    assert!(text.contains("all: 10000, failures: 1") && text.contains("4321"), "{text}");
    shown(&ends.all_or_failures().unwrap_err());
    let few: Outcomes<u8, ()> = [Outcome::Ok(1), Outcome::Err(())].into_iter().collect();
    assert_eq!(shown(&few), "Outcomes([Ok(1), Err(())])");
    shown(&Panic::new("no", Some("here")));
    shown(&Cancelled::because("enough"));
    shown(&Crash::OutOfMemory(7));
    shown(&Backend::Thread);
    shown(&"fibre".parse::<Backend>().unwrap_err());
}

#[test]
fn threads() {
    let threads = Threads::new().max_workers(nz!(2)).window(nz!(100));
    shown(&threads);
    shown(&OnError::FirstSeen);
    threads.stream(
        0..10_000,
        |n| n,
        |mut results| {
            assert_eq!(results.next(), Some(0));
            shown(&results);
        },
    );
    shown(&threads.try_map(0..9, |n| if n == 3 { Err("odd") } else { Ok(n) }).unwrap_err());
}

#[tokio::test]
async fn gathers_scopes_and_pools() {
    let items = || (0..10_000).map(|n| async move { Ok::<_, ()>(n) });
    shown(&gather(items()));
    shown(&gather::Interrupted::Shutdown);
    let mut stream =
        gather((0..10_000).map(ready).map(|n| async { Ok::<_, ()>(n.await) })).stream();
    assert!(stream.next().await.is_some());
    shown(&stream);
    let failing = gather([ready(Err::<(), _>("odd"))]).try_collect_in_place().await;
    shown(&failing.unwrap_err());

    let building = scope::scope::<String>().on_exit("one", async { Ok(()) });
    shown(&building);
    let exit = building
        .run(async |scope| {
            for _ in 0..1000 {
                scope.on_exit("close", async { Err("closed already".to_owned()) });
            }
            shown(&scope);
            Ok(1)
        })
        .await;
    shown_within(&exit, REPORT);

    let pool = offload::Pool::new(nz!(1), 100);
    let (go, wait) = mpsc::channel::<()>();
    let job = pool.try_submit(move |work| {
        wait.recv().ok();
        format!("{work:?}")
    });
    let job = job.unwrap();
    let jobs: Vec<_> = (0..100).map_while(|n| pool.try_submit(move |_| n).ok()).collect();
    shown(&pool);
    shown(&pool.stats());
    shown(&job);
    drop(go);
    shown(&job.await);
    drop(jobs);
    pool.close();
    shown(&pool.try_submit(|_| 1).unwrap_err());
}

#[test]
fn pipelines() {
    let mut text = String::new();
    for n in 0..5000 {
        text += &format!("{}{n}:{}\nbad{}\n", long().split_at(200).0, i64::MAX, "d".repeat(100));
    }
    let input = |text: &str| Input::reader("a file", std::io::Cursor::new(text.to_owned()));
    let meter = Meter::new();
    shown(&meter);
    let pipeline = Pipeline::key_value().samples(100_000).meter(&meter);
    shown(&pipeline);
    shown(&input(""));
    let report = pipeline.run([input(&text)]).unwrap();
    assert!(shown(&report.totals).contains("keys: 5000"));
    shown(&report.samples[0]);
    shown(&report.read);
    shown(&report.stages[0]);
    assert!(shown(&meter).contains(report.stages[0].name));
    let whole = shown_within(&report, REPORT);
    assert!(whole.contains("and 4999 more"), "{whole}");
    shown(&Record { key: &long(), value: 1 });

    let limited = Pipeline::key_value().malformed_at_most(10).samples(100);
    shown(&limited.run([input(&text)]).unwrap_err());
    let key = long();
    let sum = format!("{key}:{}\n{key}:1\n", i64::MAX);
    let error = Pipeline::key_value().overflow(Overflow::Error).run([input(&sum)]).unwrap_err();
    assert!(matches!(error, Error::Overflow { .. }));
    shown(&error);
    shown_within(&Pipeline::key_value().run([input(&text), Input::file("/")]).unwrap_err(), REPORT);

    let lines = (0..10_000).map(|n| n.to_string());
    let length = |line: Arc<str>| Ok::<usize, selvedge::pipeline::Reason>(line.len());
    let bound = Bound::new(nz!(2));
    shown(&bound);
    shown(&Flow::lines("lines", lines).threads("measure", bound, length));
}

#[cfg(target_os = "linux")]
#[test]
fn processes() {
    use selvedge::process::{Busy, Described, Pool};
    let builder = Pool::builder().workers(nz!(2)).submit_limit(nz!(1)).env("A", "b".repeat(9999));
    shown(&builder);
    let pool = builder.context(vec![1_u8; 100_000]).build().unwrap();
    let handle = pool.submit(|n: u64| n, 1);
    shown(&handle);
    assert!(shown(&handle.wait()).contains("Ok(1)"));
    let mut stream = pool.stream(|n: u64| n, 0..10_000, nz!(100));
    shown(&stream.next());
    shown(&stream);
    drop(stream);
    shown(&pool);
    shown(&pool.map(|n: u32| 1 / n, [0]).unwrap_err());
    shown(&Busy(vec![1_u8; 100_000]));
    shown(&Described(1));
}

/// Formatting takes turns with those who use the same block, and never stops.
#[test]
fn formatted_while_in_use() {
    let semaphore = Semaphore::new(2);
    let limiter = Limiter::per_second(nz!(1_000_000_000));
    let (counter, token) = (StripedCounter::new(), Token::new());
    let (tx, rx) = queue::bounded(nz!(4));
    std::thread::scope(|threads| {
        for _ in 0..2 {
            let (semaphore, limiter, counter, token) = (&semaphore, &limiter, &counter, &token);
            let (tx, rx) = (tx.clone(), rx.clone());
            threads.spawn(move || {
                while !token.is_cancelled() {
                    drop(semaphore.acquire_blocking(1));
                    let _ = (limiter.try_acquire(1), tx.try_send(1), rx.try_recv());
                    counter.inc();
                    drop(token.child());
                }
            });
        }
        for _ in 0..1000 {
            let all: [&dyn Debug; 6] = [&semaphore, &limiter, &counter, &token, &tx, &rx];
            all.into_iter().for_each(|thing| drop(shown(thing)));
        }
        token.cancel();
    });
}

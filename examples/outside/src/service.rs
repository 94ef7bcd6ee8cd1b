//! A service over the blocks of selvedge and a library in between. Three bugs:
//! one is the library's; a worker looks into the queue and then waits for a
//! sign that has been given; a request that runs out of time keeps its permit.

use middle::Tally;
use selvedge::queue::Receiver;
use selvedge::sync::{Condvar, Mutex};

/// What workers share.
#[derive(Debug, Default)]
pub struct Service {
    /// Jobs that were done.
    pub done: Tally,
    /// Whether there is something to do.
    pub bell: (Mutex<bool>, Condvar),
}

impl Service {
    /// Does what is in the queue, until it ends.
    pub fn work(&self, jobs: &Receiver<u32>) {
        while jobs.recv().is_ok() {
            self.done.hit();
        }
    }

    /// There is something to do.
    pub fn ring(&self) {
        *self.bell.0.lock().unwrap() = true;
        self.bell.1.notify_all();
    }

    /// Waits for the bell, unless there is something in the queue.
    pub fn next(&self, jobs: &Receiver<u32>) -> Option<u32> {
        if let Ok(job) = jobs.try_recv() {
            return Some(job);
        }
        let mut rung = self.bell.0.lock().unwrap();
        if cfg!(feature = "bugs") {
            rung = self.bell.1.wait(rung).unwrap();
        }
        while !*rung {
            rung = self.bell.1.wait(rung).unwrap();
        }
        drop(rung);
        jobs.try_recv().ok()
    }
}

/// A request that takes a permit.
#[cfg(not(loom))]
pub async fn request(
    permits: &selvedge::semaphore::Semaphore,
    lasts: std::time::Duration,
    limit: std::time::Duration,
) -> bool {
    let asked = async {
        let Ok(permit) = permits.acquire().await else { return };
        if cfg!(feature = "bugs") {
            permit.forget();
            selvedge::time::sleep(lasts).await;
            permits.add_permits(1);
        } else {
            selvedge::time::sleep(lasts).await;
            drop(permit);
        }
    };
    selvedge::timeout::with_timeout(asked, limit).await.is_ok()
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use selvedge::semaphore::Semaphore;
    use selvedge::sync::Arc;
    use selvedge::{model, thread};
    use selvedge::{nz, queue};

    #[model(outcomes = [2], engines(shuttle))]
    fn every_job_is_counted() -> u32 {
        let service = Arc::new(Service::default());
        let (jobs, rx) = queue::bounded(nz!(2));
        let workers = [(); 2].map(|()| {
            let (service, rx) = (Arc::clone(&service), rx.clone());
            thread::spawn(move || service.work(&rx))
        });
        jobs.send(1).unwrap();
        jobs.send(2).unwrap();
        drop(jobs);
        workers.into_iter().for_each(|worker| worker.join().unwrap());
        service.done.hits()
    }

    #[model(outcomes = [Some(7)], engines(shuttle))]
    fn who_waits_for_the_bell_hears_it() -> Option<u32> {
        let service = Arc::new(Service::default());
        let (jobs, rx) = queue::bounded(nz!(1));
        let worker = thread::spawn({
            let service = Arc::clone(&service);
            move || service.next(&rx)
        });
        jobs.send(7).unwrap();
        service.ring();
        worker.join().unwrap()
    }

    #[model(time = any, engines(paused, shuttle))]
    async fn every_permit_is_given_back() {
        let permits = Arc::new(Semaphore::new(1));
        let ms = std::time::Duration::from_millis(1);
        let other = selvedge::task::spawn({
            let permits = Arc::clone(&permits);
            async move { request(&permits, 4 * ms, 5 * ms).await }
        });
        request(&permits, 4 * ms, 3 * ms).await;
        other.await.unwrap();
        assert_eq!(permits.available(), 1, "a permit was leaked");
    }
}

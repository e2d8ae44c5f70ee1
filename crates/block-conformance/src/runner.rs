//! Runs the cases, each on a fresh subject.

use crate::cases::{self, Case};
use crate::cx::Cx;
use crate::outcome::Stop;
use crate::profile::Profile;
use crate::report::{CaseResult, Report, Verdict};
use crate::subject::{BoxFuture, Fresh};
use std::future::Future;
use std::sync::Arc;

pub(crate) type Factory = Arc<dyn Fn() -> BoxFuture<'static, Fresh> + Send + Sync>;

/// The names of all cases, `theme::what_must_hold`, in the order in which they run.
pub fn case_names() -> impl Iterator<Item = &'static str> {
    cases::all().map(|case| case.name)
}

/// Runs the battery in the present tokio runtime, which must have its timer enabled.
///
/// `fresh` makes the subject of each case. A panic of the driver, or a case that does not end in
/// the profile's patience, is a failure of that case alone.
pub async fn run<F, Fut>(profile: Profile, fresh: F) -> Report
where
    F: Fn() -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Fresh> + Send + 'static,
{
    run_boxed(Arc::new(profile), factory(fresh)).await
}

/// Runs the battery on a current-thread runtime and then on a multi-thread one, and prints for each
/// how many cases passed. Gives the report of the multi-thread run. `subject` names the driver in
/// what is printed.
///
/// # Panics
/// With a list of the failed cases, if there are any, or if no case passed.
pub fn check<F, Fut>(subject: &str, profile: Profile, fresh: F) -> Report
where
    F: Fn() -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Fresh> + Send + 'static,
{
    let (profile, fresh) = (Arc::new(profile), factory(fresh));
    let current =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let report = current.block_on(run_boxed(Arc::clone(&profile), Arc::clone(&fresh)));
    report.check(&format!("{subject}, current-thread"));
    let multi = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let report = multi.block_on(run_boxed(profile, fresh));
    report.check(&format!("{subject}, multi-thread"));
    report
}

fn factory<F, Fut>(fresh: F) -> Factory
where
    F: Fn() -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Fresh> + Send + 'static,
{
    Arc::new(move || Box::pin(fresh()))
}

async fn run_boxed(profile: Arc<Profile>, fresh: Factory) -> Report {
    let mut report = Report::default();
    for case in cases::all().filter(|case| profile.wants(case.name)) {
        let verdict = match profile.left_out(case.name) {
            Some(reason) => Verdict::Skipped(reason.to_owned()),
            None => run_case(case, &profile, &fresh).await,
        };
        report.cases.push(CaseResult { name: case.name, verdict });
    }
    report
}

/// Runs one case in a task of its own, so that a panic ends nothing else.
async fn run_case(case: &Case, profile: &Arc<Profile>, fresh: &Factory) -> Verdict {
    let (run, profile, fresh) = (case.run, Arc::clone(profile), Arc::clone(fresh));
    let patience = profile.patience;
    let mut task = tokio::spawn(async move {
        let cx = Cx::fresh(profile, fresh).await;
        run(cx).await
    });
    match tokio::time::timeout(patience, &mut task).await {
        Ok(Ok(Ok(()))) => Verdict::Passed,
        Ok(Ok(Err(Stop::Skipped(why)))) => Verdict::Skipped(why),
        Ok(Ok(Err(Stop::Failed(why)))) => Verdict::Failed(why),
        Ok(Err(join)) => Verdict::Failed(panic_message(join)),
        Err(_) => {
            task.abort();
            Verdict::Failed(format!("stuck: it did not end within {patience:?}"))
        }
    }
}

fn panic_message(join: tokio::task::JoinError) -> String {
    let Ok(payload) = join.try_into_panic() else {
        return "its task was cancelled".to_owned();
    };
    let text = payload
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| payload.downcast_ref::<&str>().copied());
    format!("panicked: {}", text.unwrap_or("(no message)"))
}

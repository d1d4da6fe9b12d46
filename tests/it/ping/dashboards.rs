//! The dashboards in `scripts/grafana`: what they ask for exists.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::metrics::get;
use crate::ping::PATIENT;
use crate::ping::targets::Prober;
use crate::support::{Daemon, Process, resound, run, tool, wait_until};

/// Starts `serve --metrics` with an endpoint of TCP and of UDP. Returns the address of the metrics.
#[track_caller]
pub fn serve() -> (Daemon, SocketAddr) {
    let mut command = resound();
    command.args(["serve", "--metrics", "127.0.0.1:0", "tcp://127.0.0.1:0", "udp://127.0.0.1:0"]);
    command.env_remove("RUST_LOG");
    let daemon = Daemon::start_command(command);
    let mut addr = None;
    wait_until("the address of the metrics", || {
        let text = daemon.process.stderr_text();
        let url = text.split_once("metrics at http://");
        addr = url.and_then(|(_, rest)| rest.split_once("/metrics")?.0.parse().ok());
        addr.is_some()
    });
    (daemon, addr.expect("the wait above returns after a match"))
}

fn dashboard(name: &str) -> Value {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/grafana");
    serde_json::from_str(&fs::read_to_string(folder.join(name)).unwrap()).unwrap()
}

/// Returns the queries of all panels, with what the dashboard fills in.
fn queries(dashboard: &Value) -> Vec<String> {
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().unwrap());
    let queries = targets.map(|target| {
        let query = target["expr"].as_str().unwrap();
        let query = query.replace("$__rate_interval", "1m");
        query.replace("$instance", ".*").replace("$target", ".*")
    });
    queries.collect()
}

/// Returns the metrics that a query or a variable names.
fn metrics_in(query: &str) -> impl Iterator<Item = &str> {
    let words = query.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("resound_") || word.starts_with("process_"))
}

/// Returns the names of the samples of a page.
fn samples(page: &str) -> BTreeSet<&str> {
    let lines = page.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.split(['{', ' ']).next()).collect()
}

/// The model of Grafana that these dashboards use: panels with places that do not overlap, and
/// variables before their use.
#[track_caller]
fn check_model(dashboard: &Value) {
    assert_eq!(dashboard["schemaVersion"], 39);
    assert!(dashboard["uid"].is_string() && dashboard["title"].is_string());
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    let names: Vec<_> =
        variables.iter().map(|variable| variable["name"].as_str().unwrap()).collect();
    let (mut ids, mut places) = (BTreeSet::new(), BTreeSet::new());
    for panel in dashboard["panels"].as_array().unwrap() {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{panel}");
        let place = ["x", "y", "w", "h"].map(|key| panel["gridPos"][key].as_u64().unwrap());
        let [left, top, width, height] = place;
        assert!(left + width <= 24, "{panel}");
        for column in left..left + width {
            for row in top..top + height {
                assert!(places.insert((column, row)), "{panel}");
            }
        }
        for text in ["title", "description", "type"] {
            assert!(panel[text].as_str().is_some_and(|text| !text.is_empty()), "{panel}");
        }
        for target in panel["targets"].as_array().unwrap() {
            assert_eq!(target["datasource"]["uid"], "${datasource}");
            let query = target["expr"].as_str().unwrap().replace("$__rate_interval", "");
            for variable in query.split('$').skip(1) {
                assert!(names.iter().any(|name| variable.starts_with(name)), "{query}");
            }
        }
    }
}

#[test]
fn every_query_of_a_dashboard_names_metrics_that_the_page_has() {
    let (daemon, served) = serve();
    let endpoint = &daemon.endpoints[1];
    let prober = Prober::start(&["-J", "-i", "5ms", PATIENT, endpoint]);
    for (name, addr) in [("serve.json", served), ("ping.json", prober.addr)] {
        let dashboard = dashboard(name);
        check_model(&dashboard);
        let page = get(addr, "/metrics").body;
        let samples = samples(&page);
        let variables = dashboard["templating"]["list"].as_array().unwrap().iter();
        let variables = variables.map(|variable| variable["query"].to_string());
        let mut named = BTreeSet::new();
        for query in queries(&dashboard).into_iter().chain(variables) {
            for metric in metrics_in(&query) {
                assert!(samples.contains(metric), "{name}: {metric} in {query}");
                named.insert(metric.to_owned());
            }
        }
        assert!(named.len() > 10, "{named:?}");
    }
    prober.interrupt();
}

/// A Prometheus server on the loopback scrapes a server and a prober, and runs every query.
#[test]
fn prometheus_scrapes_both_pages_and_runs_every_query() {
    let (Some(prometheus), Some(promtool)) = (tool("prometheus"), tool("promtool")) else { return };
    let (daemon, served) = serve();
    let endpoint = &daemon.endpoints[1];
    let prober = Prober::start(&["-J", "-i", "5ms", PATIENT, endpoint]);
    let folder = tempfile::tempdir().unwrap();
    let settings = folder.path().join("prometheus.yml");
    let text = format!(
        "scrape_configs:\n- job_name: resound\n  scrape_interval: 1s\n  static_configs:\n  \
         - targets: ['{served}', '{}']\n",
        prober.addr
    );
    fs::write(&settings, text).unwrap();
    let mut command = Command::new(prometheus);
    command.arg(format!("--config.file={}", settings.display()));
    command.arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()));
    command.arg("--web.listen-address=127.0.0.1:0");
    let server = Process::start(command);
    let mut url = String::new();
    wait_until("the address of Prometheus", || {
        let log = server.stderr_text();
        let line = log.lines().find(|line| line.contains("\"Listening on\""));
        let addr = line.and_then(|line| line.split_once("address=")?.1.split(' ').next());
        addr.inspect(|addr| url = format!("http://{addr}")).is_some()
    });
    let query = |query: &str| {
        let mut command = Command::new(&promtool);
        command.args(["query", "instant", &url, query]);
        run(command)
    };
    for expected in ["sum(up) == 2", "resound_ping_received_probes_total > 0"] {
        wait_until(expected, || !query(expected).stdout_text().trim().is_empty());
    }
    for name in ["serve.json", "ping.json"] {
        for expression in queries(&dashboard(name)) {
            let answer = query(&expression);
            assert_eq!(answer.code(), 0, "{expression}: {}", answer.stderr);
        }
    }
    server.signal(rustix::process::Signal::TERM);
    server.wait();
    prober.interrupt();
}

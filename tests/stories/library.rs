//! The balancer in one's own process.

use evenkeel::config::{Backend, Listener, Route, Upstream};
use evenkeel::{Config, LoadBalancer};
use wiremock::matchers::path;
use wiremock::{Mock, MockServer, ResponseTemplate};

async fn mock(body: &str) -> MockServer {
    let server = MockServer::start().await;
    let answer = ResponseTemplate::new(200).set_body_string(body);
    Mock::given(path("/")).respond_with(answer).mount(&server).await;
    server
}

#[tokio::test]
async fn the_balancer_gives_what_the_mock_server_behind_it_gives() {
    let backend = mock("backend").await;
    let balancer = LoadBalancer::new(0, vec![backend.uri()]);
    let running = tokio::spawn({
        let balancer = balancer.clone();
        async move { balancer.run().await }
    });
    balancer.ready().await.unwrap();

    let response = reqwest::get(balancer.uri()).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.text().await.unwrap(), "backend");
    assert_eq!(backend.received_requests().await.unwrap().len(), 1);

    balancer.stop();
    running.await.unwrap().unwrap();
    assert!(reqwest::get(balancer.uri()).await.is_err(), "it has ended");
}

#[tokio::test]
async fn a_request_before_it_runs_waits_and_is_served() {
    let backend = mock("backend").await;
    let balancer = LoadBalancer::new(0, [backend.address().to_string()]);
    let early = tokio::spawn(reqwest::get(balancer.uri()));
    let running = tokio::spawn({
        let balancer = balancer.clone();
        async move { balancer.run().await }
    });
    assert_eq!(early.await.unwrap().unwrap().text().await.unwrap(), "backend");
    balancer.stop();
    running.await.unwrap().unwrap();
}

#[tokio::test]
async fn two_balancers_in_one_process_do_not_disturb_each_other() {
    let (one, two) = (mock("one").await, mock("two").await);
    let balancers = [LoadBalancer::new(0, [one.uri()]), LoadBalancer::new(0, [two.uri()])];
    for balancer in balancers.clone() {
        tokio::spawn(async move { balancer.run().await });
    }
    for (balancer, expected) in balancers.iter().zip(["one", "two"]) {
        balancer.ready().await.unwrap();
        assert_eq!(reqwest::get(balancer.uri()).await.unwrap().text().await.unwrap(), expected);
    }
    for balancer in &balancers {
        balancer.stop();
    }
}

#[tokio::test]
async fn what_is_wrong_is_said_by_run_and_by_ready() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let balancer = LoadBalancer::new(port, ["127.0.0.1:9"]);
    let error = balancer.run().await.unwrap_err().to_string();
    assert!(error.contains(&format!("cannot listen on 127.0.0.1:{port}")), "{error}");
    assert!(balancer.ready().await.is_err());

    let nonsense = LoadBalancer::new(0, ["not an address"]);
    assert!(nonsense.run().await.unwrap_err().to_string().contains("not an address"));
    assert!(nonsense.run().await.unwrap_err().to_string().contains("before"), "it runs once");
}

#[tokio::test]
async fn a_configuration_built_in_code_serves_with_all_that_it_says() {
    let (one, two) = (mock("one").await, mock("two").await);
    let backend = |server: &MockServer| Backend::new(server.address().to_string().parse().unwrap());
    let listeners = ["web", "more"].map(|name| Listener::new(name, "127.0.0.1:0".parse().unwrap()));
    let upstreams = vec![Upstream::new("one", vec![backend(&one)]), Upstream::new("two", vec![backend(&two)])];
    let routes = vec![Route::to_upstream("first", vec![0], 0), Route::to_upstream("second", vec![1], 1)];
    let config = Config { admin: None, access_log: None, ..Config::new(listeners.to_vec(), upstreams, routes) };
    let balancer = LoadBalancer::with(config);
    tokio::spawn({
        let balancer = balancer.clone();
        async move { balancer.run().await }
    });
    balancer.ready().await.unwrap();
    assert_eq!(balancer.uri_of("web"), Some(balancer.uri()));
    for (listener, expected) in [("web", "one"), ("more", "two")] {
        let uri = balancer.uri_of(listener).unwrap();
        assert_eq!(reqwest::get(uri).await.unwrap().text().await.unwrap(), expected);
    }
    assert_eq!(balancer.uri_of("other"), None);
    balancer.stop();
}

#[tokio::test]
async fn the_text_of_a_file_serves_on_free_ports_and_its_problems_are_those_of_check() {
    let backend = mock("backend").await;
    let text = format!(
        "version: 1\naccess_log: off\nlame_duck: off\nlisteners: {{ web: {{ address: 127.0.0.1:8080 }} }}\n\
         upstreams: {{ app: {{ backends: [{}] }} }}\n\
         routes:\n  - {{ upstream: app }}\n  - {{ match: {{ path: {{ exact: /gone }} }}, respond: {{ status: 410 }} }}\n",
        backend.address()
    );
    let balancers = [(); 2].map(|()| LoadBalancer::with(Config::from_yaml(&text).unwrap().on_free_ports()));
    for balancer in balancers.clone() {
        tokio::spawn(async move { balancer.run().await });
    }
    for balancer in &balancers {
        balancer.ready().await.unwrap();
        assert_eq!(reqwest::get(balancer.uri()).await.unwrap().text().await.unwrap(), "backend");
        assert_eq!(reqwest::get(format!("{}/gone", balancer.uri())).await.unwrap().status(), 410);
        balancer.stop();
    }
    let wrong = Config::from_yaml(&text.replace("upstream: app", "upstream: ap")).unwrap_err().to_string();
    assert!(wrong.contains("did you mean `app`?"), "{wrong}");
}

#[tokio::test]
async fn a_value_that_does_not_hold_together_is_said_by_run() {
    let listener = Listener::new("web", "127.0.0.1:0".parse().unwrap());
    let upstream = Upstream::new("app", vec![Backend::new("127.0.0.1:9".parse().unwrap())]);
    let config = Config::new(vec![listener], vec![upstream], vec![Route::to_upstream("all", vec![0], 7)]);
    let error = LoadBalancer::with(config).run().await.unwrap_err().to_string();
    assert!(error.contains("route `all` leads to upstream 7"), "{error}");
}

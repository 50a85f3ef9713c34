//! The balancer in one's own process.

use evenkeel::LoadBalancer;
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

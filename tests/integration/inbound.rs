//! The inbound side: from the mesh to the application beside the proxy.

use sidle_test_support::{client::Client, echo::Echo, sidle::Sidle};

fn service(port: u16) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{ name: shop }}\nspec:\n  selector: {{ app: shop }}\n  \
         ports: [{{ name: http, port: 80, targetPort: {port} }}]\n---\n\
         apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {{ name: shop-1 }}\nspec:\n  \
         address: 127.0.0.1\n  ports: {{ http: {port} }}\n  labels: {{ app: shop, version: v1 }}\n"
    )
}

#[tokio::test]
async fn a_service_that_selects_this_workload_is_served() {
    let application = Echo::start("application");
    let builder = Sidle::builder().file("s.yaml", &service(application.port()));
    let sidle = builder.arguments(&["--labels", "app=shop,version=v1"]).start();
    let mut client = Client::http1(sidle.ports.inbound).await;
    let answer = client.get("shop", "/hello").await;
    assert_eq!((answer.version(), answer.header("server")), ("application", "istio-envoy"));
    let metrics = sidle.metrics();
    let labels = [("reporter", "destination"), ("response_code", "200")];
    assert_eq!(metrics.sum("istio_requests_total", &labels), 1.0, "{}", metrics.text);
}

#[tokio::test]
async fn a_sidecar_ingress_port_leads_to_its_default_endpoint() {
    let application = Echo::start("application");
    let port = sidle_test_support::ports::free();
    let sidecar = format!(
        "apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {{ name: shop }}\nspec:\n  ingress:\n    \
         - port: {{ number: {}, name: http, protocol: HTTP }}\n      bind: 127.0.0.1\n      captureMode: NONE\n      \
         defaultEndpoint: 127.0.0.1:{}\n",
        port.port(),
        application.port()
    );
    let _sidle = Sidle::run(&sidecar);
    assert_eq!(Client::http1(port).await.get("anything", "/").await.version(), "application");
}

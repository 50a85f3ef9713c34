"""Envoy, one worker. Its configuration is YAML, and JSON is YAML."""

import json

VERSION = ["--version"]
MANAGER = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
ROUTER = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
FILE_LOG = "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog"
TLS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"
PROTOCOLS = "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def write(program, home, site):
    ports, behind = site.ports, site.backends
    listeners = [_listener(site, home, "plain", ports["plain"], "app")]
    clusters = [_cluster("app", behind.plain)]
    if site.tls:
        listeners.append(_listener(site, home, "tls", ports["tls"], "app", secure=True))
    if behind.grpc:
        listeners.append(_listener(site, home, "grpc", ports["grpc"], "grpc"))
        clusters.append(_cluster("grpc", (behind.grpc,), http2=True))
    if behind.websocket:
        listeners.append(_listener(site, home, "websocket", ports["websocket"], "websocket", upgrade=True))
        clusters.append(_cluster("websocket", (behind.websocket,)))
    if behind.sick:
        listeners.append(_listener(site, home, "sick", ports["sick"], "sick", retry=True))
        ejection = {"consecutive_5xx": 5, "base_ejection_time": "30s", "max_ejection_percent": 50}
        clusters.append({**_cluster("sick", (*behind.plain, behind.sick)), "outlier_detection": ejection})
    if behind.upload:
        listeners.append(_listener(site, home, "upload", ports["upload"], "upload"))
        clusters.append(_cluster("upload", (behind.upload,)))
    (home / "envoy.yaml").write_text(json.dumps({"static_resources": {"listeners": listeners, "clusters": clusters}}, indent=1))
    return [program, "-c", str(home / "envoy.yaml"), "--concurrency", "1", "--disable-hot-restart", "-l", "error"], None


def _address(port):
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _listener(site, home, name, port, cluster, secure=False, upgrade=False, retry=False):
    route = {"cluster": cluster, "timeout": "30s"}
    if upgrade:
        route["timeout"] = "0s"
    if retry:
        route["retry_policy"] = {"retry_on": "reset,connect-failure", "num_retries": 2}
    manager = {
        "@type": MANAGER,
        "stat_prefix": name,
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": route}]}]},
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {"@type": ROUTER}}],
        "common_http_protocol_options": {"idle_timeout": "60s"},
    }
    if upgrade:
        manager["upgrade_configs"] = [{"upgrade_type": "websocket"}]
    if site.access_log:
        log = {"@type": FILE_LOG, "path": f"{home}/access.log"}
        manager["access_log"] = [{"name": "envoy.access_loggers.file", "typed_config": log}]
    chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
    if secure:
        certificate = {"certificate_chain": {"filename": str(site.tls["certificate"])}, "private_key": {"filename": str(site.tls["key"])}}
        context = {"@type": TLS, "common_tls_context": {"tls_certificates": [certificate], "alpn_protocols": ["h2", "http/1.1"]}}
        chain["transport_socket"] = {"name": "envoy.transport_sockets.tls", "typed_config": context}
    return {"name": name, "address": _address(port), "filter_chains": [chain], "tcp_backlog_size": 16384}


def _cluster(name, backends, http2=False):
    protocol = {"http2_protocol_options" if http2 else "http_protocol_options": {}}
    limits = {key: 100_000 for key in ("max_connections", "max_pending_requests", "max_requests", "max_retries")}
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "2s",
        "lb_policy": "ROUND_ROBIN",
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": _address(port)}} for port in backends]}],
        },
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {"@type": PROTOCOLS, "explicit_http_config": protocol}
        },
        "circuit_breakers": {"thresholds": [limits]},
        "health_checks": [
            {"timeout": "1s", "interval": "5s", "unhealthy_threshold": 3, "healthy_threshold": 2, "tcp_health_check": {}}
        ],
    }

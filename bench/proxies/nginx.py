"""nginx. It streams bodies as the others do, instead of gathering them in files first."""

from .backends import nginx_top

VERSION = ["-v"]


def write(program, home, site):
    (home / "logs").mkdir()
    ports, behind = site.ports, site.backends
    a, b = behind.plain
    fields = """
            proxy_set_header X-Forwarded-For $remote_addr;
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_set_header X-Forwarded-Host $http_host;
            proxy_set_header X-Request-Id $request_id;""" if site.same_fields else ""
    kept = "keepalive 256; keepalive_requests 1000000000;"
    proxied = f"""
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;{fields}"""
    secure = f"""
        listen 127.0.0.1:{ports["tls"]} ssl backlog=16384;
        http2 on;
        ssl_certificate {site.tls["certificate"]};
        ssl_certificate_key {site.tls["key"]};""" if site.tls else ""
    special = ""
    if behind.grpc:
        special += f"""
    upstream grpc {{ server 127.0.0.1:{behind.grpc}; {kept} }}
    server {{
        listen 127.0.0.1:{ports["grpc"]} backlog=16384;
        http2 on;
        location / {{ grpc_pass grpc://grpc; }}
    }}"""
    if behind.websocket:
        special += f"""
    server {{
        listen 127.0.0.1:{ports["websocket"]} backlog=16384;
        location / {{
            proxy_pass http://127.0.0.1:{behind.websocket};
            proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection upgrade;
            proxy_set_header Host $http_host;
        }}
    }}"""
    if behind.sick:
        special += f"""
    upstream sick {{ server 127.0.0.1:{a}; server 127.0.0.1:{b}; server 127.0.0.1:{behind.sick} max_fails=5 fail_timeout=30s; {kept} }}
    server {{
        listen 127.0.0.1:{ports["sick"]} backlog=16384;
        location / {{ proxy_pass http://sick;{proxied} }}
    }}"""
    if behind.upload:
        special += f"""
    upstream upload {{ server 127.0.0.1:{behind.upload}; {kept} }}
    server {{
        listen 127.0.0.1:{ports["upload"]} backlog=16384;
        location / {{ proxy_pass http://upload;{proxied} }}
    }}"""
    (home / "nginx.conf").write_text(f"""
{nginx_top(home)}
events {{ worker_connections {site.connections + 2048}; }}
http {{
    access_log {f"{home}/access.log" if site.access_log else "off"};
    keepalive_requests 1000000000;
    keepalive_timeout 60s;
    client_max_body_size 0;
    proxy_request_buffering off;
    proxy_max_temp_file_size 0;
    upstream app {{ server 127.0.0.1:{a}; server 127.0.0.1:{b}; {kept} }}
    server {{
        listen 127.0.0.1:{ports["plain"]} backlog=16384;{secure}
        location / {{ proxy_pass http://app;{proxied} }}
    }}{special}
}}
""")
    return [program, "-p", str(home), "-c", "nginx.conf"], None

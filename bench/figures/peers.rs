//! Other proxies with a configuration that suits the comparison: one worker or thread, connections
//! kept, no log.

use super::process::{Process, find_port, find_program, start_peer};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

/// `sendfile off`: a stored answer goes in one write with its head, which is faster here than from
/// the page cache.
const NGINX: &str = "
worker_processes 1; daemon off; pid DIR/pid; error_log DIR/error.log; USER
events { worker_connections 1024; }
http {
  access_log off; keepalive_timeout 10m; keepalive_requests 1000000000; tcp_nodelay on; sendfile off;
  open_file_cache max=1000 inactive=1h; open_file_cache_valid 1h; open_file_cache_min_uses 1;
  client_body_temp_path DIR/a; proxy_temp_path DIR/b; fastcgi_temp_path DIR/c; uwsgi_temp_path DIR/d; scgi_temp_path DIR/e;
  proxy_cache_path DIR/cache keys_zone=answers:10m;
  upstream application { server APPLICATION; keepalive 64; keepalive_requests 1000000000; }
  server { listen 127.0.0.1:PORT; location / {
    proxy_pass http://application; proxy_http_version 1.1; proxy_set_header connection \"\"; ROLE } }
}";

const NGINX_CACHE: &str = "proxy_set_header host $host; proxy_cache answers; proxy_cache_key \
    $host$request_uri$http_authorization; add_header x-cache $upstream_cache_status;";

const HAPROXY: &str = "
global
  nbthread 1
  maxconn 1024
defaults
  mode http
  timeout connect 5s
  timeout client 10m
  timeout server 10m
frontend all
  bind 127.0.0.1:PORT
  default_backend application
backend application
  server application APPLICATION
";

/// Varnish would not store answers to calls with an Authorization; their key has it here, as in the
/// others.
const VARNISH: &str = r#"
vcl 4.1;
backend application { .host = "HOST"; .port = "APORT"; }
sub vcl_recv { return (hash); }
sub vcl_hash { hash_data(req.http.authorization); }
sub vcl_backend_response { set beresp.ttl = 1h; return (deliver); }
sub vcl_deliver { if (obj.hits > 0) { set resp.http.x-cache = "HIT"; } }
"#;

/// What an answer's head holds that came from the peer's cache.
pub const HIT: &str = "x-cache: HIT";

/// What nginx does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Cache,
    Relay,
}

/// `None` if it isn't installed, as with the others.
pub fn start_nginx(
    directory: &Path,
    role: Role,
    application: SocketAddr,
) -> Option<(Process, SocketAddr)> {
    let program = find_program("nginx")?;
    let (directory, port) = (directory.join(format!("nginx-{role:?}")), find_port());
    std::fs::create_dir(&directory).expect("a directory");
    // As root its worker would become a user who may not write here.
    let user = if rustix::process::getuid().is_root() {
        "user root;"
    } else {
        ""
    };
    let place = directory.display().to_string();
    let text = NGINX
        .replace("DIR", &place)
        .replace("USER", user)
        .replace("PORT", &port.to_string())
        .replace("APPLICATION", &application.to_string())
        .replace("ROLE", if role == Role::Cache { NGINX_CACHE } else { "" });
    let file = directory.join("nginx.conf");
    std::fs::write(&file, text).expect("a configuration");
    let mut command = Command::new(program);
    Some(start_peer(
        command.args(["-p", &place, "-c"]).arg(file),
        port,
    ))
}

pub fn start_haproxy(directory: &Path, application: SocketAddr) -> Option<(Process, SocketAddr)> {
    let program = find_program("haproxy")?;
    let (file, port) = (directory.join("haproxy.cfg"), find_port());
    let text = HAPROXY.replace("PORT", &port.to_string());
    std::fs::write(&file, text.replace("APPLICATION", &application.to_string()))
        .expect("a configuration");
    Some(start_peer(
        Command::new(program).arg("-db").arg("-f").arg(file),
        port,
    ))
}

pub fn start_varnish(directory: &Path, application: SocketAddr) -> Option<(Process, SocketAddr)> {
    let program = find_program("varnishd")?;
    let (file, port) = (directory.join("cache.vcl"), find_port());
    let text = VARNISH.replace("APORT", &application.port().to_string());
    std::fs::write(&file, text.replace("HOST", &application.ip().to_string()))
        .expect("a configuration");
    let mut command = Command::new(program);
    // No jail: its user could not read this directory.
    command.args([
        "-F",
        "-j",
        "none",
        "-p",
        "timeout_idle=600",
        "-s",
        "malloc,64m",
        "-a",
        &format!("127.0.0.1:{port}"),
        "-f",
    ]);
    Some(start_peer(
        command.arg(file).arg("-n").arg(directory.join("varnish")),
        port,
    ))
}

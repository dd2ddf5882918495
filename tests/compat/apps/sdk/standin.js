// Stand-ins for four analytics services, written from what their documentation says of requests and answers.
"use strict";

const http = require("node:http");
const zlib = require("node:zlib");

let seen = [];

// What each path answers: [status, content type, body].
const JSON_TYPE = "application/json";
function answer(request, body) {
  const path = request.url.split("?")[0];
  switch (path) {
    case "/batch/": // PostHog
      return [200, JSON_TYPE, '{"status":1}'];
    case "/v1/batch": // Segment
      return [200, JSON_TYPE, '{"success":true}'];
    case "/track": // Mixpanel: 1 or 0, with verbose=1 an object
    case "/engage":
    case "/groups":
      return /[?&]verbose=1/.test(request.url) ? [200, JSON_TYPE, '{"status":1,"error":null}'] : [200, "text/html", "1"];
    case "/2/httpapi": { // Amplitude: a key at the top, else 400
      const call = JSON.parse(body);
      if (typeof call.api_key !== "string") return [400, JSON_TYPE, '{"code":400,"error":"missing field \\"api_key\\""}'];
      return [200, JSON_TYPE, JSON.stringify({ code: 200, events_ingested: call.events.length, payload_size_bytes: body.length, server_upload_time: 0 })];
    }
    case "/api/send": // Umami: one event
      return [200, JSON_TYPE, '{"cache":"c","sessionId":"s","visitId":"v"}'];
    case "/api/batch": { // Umami: an array of them
      const size = JSON.parse(body).length;
      return [200, JSON_TYPE, JSON.stringify({ size, processed: size, errors: 0, details: [], cache: "c" })];
    }
    default:
      return [404, JSON_TYPE, '{"error":"not found"}'];
  }
}

http
  .createServer((request, response) => {
    const parts = [];
    request.on("data", (part) => parts.push(part));
    request.on("end", () => {
      if (request.url === "/healthz") return response.end("ok");
      if (request.url === "/control/reset") return (seen = []), response.end("ok");
      if (request.url === "/control/store") return response.end(JSON.stringify(seen));
      const raw = Buffer.concat(parts);
      const body = (request.headers["content-encoding"] === "gzip" ? zlib.gunzipSync(raw) : raw).toString();
      const headers = Object.entries(request.headers).map(([name, value]) => [name, String(value)]);
      seen.push({ method: request.method, target: request.url, headers, body });
      const [status, type, text] = answer(request, body);
      response.writeHead(status, { "content-type": type });
      response.end(text);
    });
  })
  .listen(Number(process.env.PORT), "127.0.0.1");

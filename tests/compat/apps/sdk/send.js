// Posts by an official SDK, with its own defaults but for the address: node send.js SDK PORT
"use strict";

const [, , sdk, port] = process.argv;
const address = `127.0.0.1:${port}`;
const host = `http://${address}`;

const senders = {
  async posthog() {
    const { PostHog } = require("posthog-node");
    const client = new PostHog("phc_key", { host });
    const failed = [];
    client.on("error", (error) => failed.push(error));
    for (let number = 0; number < 5; number++) {
      client.capture({ distinctId: `u${number % 2}`, event: "lesson", properties: { number, deep: { list: [1, null, "ü"] } } });
    }
    client.identify({ distinctId: "u0", properties: { name: "Ada" } });
    await client.shutdown();
    if (failed.length > 0) throw failed[0];
  },

  async segment() {
    const { Analytics } = require("@segment/analytics-node");
    const client = new Analytics({ writeKey: "write-key", host, flushAt: 3 });
    const failed = [];
    client.on("error", (error) => failed.push(error));
    for (let number = 0; number < 4; number++) {
      client.track({ userId: "u1", event: "lesson", properties: { number, note: "ü" }, messageId: `m-${number}`, timestamp: new Date(number) });
    }
    client.identify({ userId: "u1", traits: { name: "Ada" }, messageId: "m-identify", timestamp: new Date(9) });
    await client.closeAndFlush();
    if (failed.length > 0) throw failed[0];
  },

  async mixpanel() {
    const client = require("mixpanel").init("token", { host: address, protocol: "http" });
    const sent = (action) => new Promise((resolve, reject) => action((error) => (error ? reject(error) : resolve())));
    for (let number = 0; number < 3; number++) {
      await sent((done) => client.track("lesson", { distinct_id: "u1", number, time: new Date(1_000 * number), $insert_id: `i-${number}` }, done));
    }
    await sent((done) => client.people.set("u1", { name: "Ada" }, done));
    const two = ["a", "b"].map((event) => ({ event, properties: { distinct_id: "u1", time: new Date(0), $insert_id: event } }));
    await sent((done) => client.track_batch(two, done));
  },

  async amplitude() {
    const client = require("@amplitude/analytics-node");
    await client.init("api-key", { serverUrl: `${host}/2/httpapi`, flushQueueSize: 2, flushIntervalMillis: 60_000, logLevel: 0 }).promise;
    const results = [];
    for (let number = 0; number < 5; number++) {
      results.push(client.track("lesson", { number }, { user_id: "u1", insert_id: `n-${number}`, time: 1_000 + number }).promise);
    }
    await client.flush().promise;
    for (const { code, message } of await Promise.all(results)) if (code !== 200) throw new Error(`${code} ${message}`);
  },

  async umami() {
    const { Umami } = require("@umami/node");
    const client = new Umami({ websiteId: "7d3f2c1e-0000-4000-8000-000000000001", hostUrl: host });
    for (let number = 0; number < 12; number++) {
      const answer = number % 3 === 0 ? await client.track({ url: `/lesson/${number}`, title: "Lesson" }) : await client.track("lesson", { number, note: "ü" });
      if (!answer.ok) throw new Error(`${answer.status} ${await answer.text()}`);
    }
  },
};

senders[sdk]().then(
  () => process.exit(0),
  (error) => {
    console.error(error);
    process.exit(1);
  },
);

// The other side of test_nats_nodejs.py: one of the official clients, driven by JSON lines.
//
//   node peer.mjs CLIENT URL publish                        reads messages, prints confirmations
//   node peer.mjs CLIENT URL consume STREAM CONSUMER COUNT  prints messages, each acked and the ack confirmed
//
// COUNT messages are fetched, none ahead. Bytes are in base64. An event goes out in the message's place as {mode, attributes, data} and comes back beside it.

import { createInterface } from "node:readline";
import { CloudEvent, HTTP } from "cloudevents";

const [client, url, action, ...rest] = process.argv.slice(2);
const { connect, headers } = await import(client);
const connection = await connect({ servers: url, timeout: 5000 });
const jetstream = connection.jetstream?.() ?? (await import("@nats-io/jetstream")).jetstream(connection);

const say = (value) => process.stdout.write(JSON.stringify(value) + "\n");
const bytes = (text) => Buffer.from(text, "base64");
const base64 = (data) => Buffer.from(data).toString("base64");

async function publish() {
  for await (const line of createInterface({ input: process.stdin })) {
    const { subject, id, event, ...message } = JSON.parse(line);
    const { names = {}, data } = event ? written(event) : { names: message.headers, data: bytes(message.data) };
    const fields = headers();
    for (const [name, value] of Object.entries(names)) fields.append(name, value);
    const { stream, seq, duplicate } = await jetstream.publish(subject, data, { headers: fields, msgID: id });
    say({ stream, sequence: seq, duplicate: Boolean(duplicate) });
  }
}

async function consume(stream, name, count) {
  const manager = await jetstream.jetstreamManager();
  const durable = { durable_name: name, ack_policy: "explicit" };
  await manager.consumers.info(stream, name).catch(() => manager.consumers.add(stream, durable));
  const consumer = await jetstream.consumers.get(stream, name);
  for await (const message of await consumer.fetch({ max_messages: Number(count), expires: 10_000 })) {
    const names = Object.fromEntries(message.headers ?? []);
    const event = read(names, message.data);
    say({ subject: message.subject, sequence: message.seq, headers: names, data: base64(message.data), event });
    if (!(await message.ackAck())) throw new Error(`the ack of ${message.seq} was not confirmed`);
  }
}

// The SDK has no NATS binding: its structured mode is that of HTTP, binary mode is done by hand on the SDK's events.

function written({ mode, attributes, data }) {
  const event = new CloudEvent({ ...attributes, data: bytes(data) });
  if (mode === "structured") {
    const { headers: names, body } = HTTP.structured(event);
    return { names, data: Buffer.from(body) };
  }
  const encoded = Object.entries(stripped(event)).map(([name, value]) => [`ce-${name}`, encodeURIComponent(value)]);
  return { names: Object.fromEntries(encoded), data: bytes(data) };
}

function read(names, payload) {
  const fields = Object.entries(names).map(([name, [value]]) => [name.toLowerCase(), value]);
  const type = Object.fromEntries(fields)["content-type"] ?? "";
  if (type.startsWith("application/cloudevents")) {
    const event = HTTP.toEvent({ headers: { "content-type": type }, body: Buffer.from(payload).toString() });
    return { attributes: stripped(event), data: event.data_base64 ?? base64(JSON.stringify(event.data)) };
  }
  const attributes = fields.filter(([name]) => name.startsWith("ce-"));
  if (attributes.length === 0) return null;
  const decoded = attributes.map(([name, value]) => [name.slice(3), decodeURIComponent(value)]);
  return { attributes: stripped(new CloudEvent(Object.fromEntries(decoded))), data: base64(payload) };
}

function stripped(event) {
  const { data, data_base64, ...attributes } = JSON.parse(event.toString());
  return attributes;
}

await { publish, consume }[action](...rest);
await connection.close();

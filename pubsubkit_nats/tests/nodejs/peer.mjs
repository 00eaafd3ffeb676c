// The other side of test_nats_nodejs.py: one of the official clients, driven by JSON lines.
//
//   node peer.mjs CLIENT URL publish                        reads messages, prints confirmations
//   node peer.mjs CLIENT URL consume STREAM CONSUMER COUNT  prints messages, each acked and the ack confirmed
//
// COUNT messages are fetched, none ahead. Bytes are in base64.

import { createInterface } from "node:readline";

const [client, url, action, ...rest] = process.argv.slice(2);
const { connect, headers } = await import(client);
const connection = await connect({ servers: url, timeout: 5000 });
const jetstream = connection.jetstream?.() ?? (await import("@nats-io/jetstream")).jetstream(connection);

const say = (value) => process.stdout.write(JSON.stringify(value) + "\n");
const bytes = (text) => Buffer.from(text, "base64");
const base64 = (data) => Buffer.from(data).toString("base64");

async function publish() {
  for await (const line of createInterface({ input: process.stdin })) {
    const { subject, id, headers: names, data } = JSON.parse(line);
    const fields = headers();
    for (const [name, value] of Object.entries(names)) fields.append(name, value);
    const { stream, seq, duplicate } = await jetstream.publish(subject, bytes(data), { headers: fields, msgID: id });
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
    say({ subject: message.subject, sequence: message.seq, headers: names, data: base64(message.data) });
    if (!(await message.ackAck())) throw new Error(`the ack of ${message.seq} was not confirmed`);
  }
}

await { publish, consume }[action](...rest);
await connection.close();

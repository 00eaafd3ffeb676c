// CloudEvents of the npm package as messages over NATS, and back. An event is {attributes, data}, bytes are in base64.
//
//   node events.mjs    reads lines {event, mode} and prints messages {headers, data}, or the other way round
//
// The package has no NATS binding. Its HTTP binding does all the work; here are the differences between the two: the
// content type has a header of its own, and values are percent-encoded.

import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";
import { CloudEvent, HTTP } from "cloudevents";

const base64 = (data) => Buffer.from(data).toString("base64");
const encode = (value) => String(value).replace(/[^\x21\x23\x24\x26-\x7e]/gu, encodeURIComponent);
const decode = (value) => {
  if (/[^\x21\x23-\x7e]/.test(value)) throw new Error(`${value} is not percent-encoded`);
  return decodeURIComponent(value);
};
const isJSON = (type) => /[/+]json\s*(;|$)/i.test(type);

export function written({ attributes, data, value }, mode) {
  const event = new CloudEvent({ ...attributes, data: data === undefined ? value : Buffer.from(data, "base64") });
  const { headers, body } = HTTP[mode](event);
  if (mode === "structured") return { headers, data: base64(body) };
  const { "content-type": type, ...rest } = headers;
  const all = event.datacontenttype ? { ...rest, "ce-datacontenttype": type } : rest;
  return { headers: mapped(all, (name) => name, encode), data: base64(body ?? "") };
}

export function read({ headers, data }) {
  const fields = mapped(headers, (name) => name.toLowerCase(), (value) => value);
  const payload = Buffer.from(data, "base64");
  if (fields["content-type"]?.startsWith("application/cloudevents"))
    return seen(HTTP.toEvent({ headers: { "content-type": fields["content-type"] }, body: payload.toString() }));
  const own = Object.fromEntries(Object.entries(fields).filter(([name]) => name.startsWith("ce-")));
  const { "ce-datacontenttype": type = "", ...rest } = mapped(own, (name) => name, decode);
  const body = type.startsWith("application/json") ? payload.toString() : payload; // which the package takes apart
  return seen(HTTP.toEvent({ headers: { ...rest, ...(type && { "content-type": type }) }, body }));
}

function seen(event) {
  event.validate();
  const { data, data_base64: coded, ...attributes } = event;
  if (coded !== undefined || data === undefined) return { attributes, data: coded };
  const text = typeof data === "string" && !isJSON(event.datacontenttype ?? "application/json");
  return { attributes, data: base64(text ? data : JSON.stringify(data)) };
}

function mapped(fields, name, value) {
  return Object.fromEntries(Object.entries(fields).map(([key, each]) => [name(key), value(each)]));
}

if (import.meta.url === pathToFileURL(process.argv[1]).href)
  for await (const line of createInterface({ input: process.stdin })) {
    const { event, mode, ...message } = JSON.parse(line);
    process.stdout.write(JSON.stringify(event ? written(event, mode) : read(message)) + "\n");
  }

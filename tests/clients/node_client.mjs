// Goes through a scenario with OpenAI's Node client and prints what it was told, step by step, as JSON.
//
// node node_client.mjs BASE_URL SCENARIO. What the fields of a step mean, python_client.py says; this does the same.

import { File } from "node:buffer";
import { readFile } from "node:fs/promises";

globalThis.File ??= File; // Node 18, which Debian 12 has, keeps it there; the client wants it to upload

const { default: OpenAI, toFile } = await import("openai");

const PATIENCE_MS = 120_000;

async function taken(step, answer) {
  switch (step.take) {
    case "items":
    case "chunks": {
      const items = [];
      for await (const item of await answer) items.push(item);
      return items;
    }
    case "first chunk":
      for await (const chunk of await answer) return chunk; // leaving the loop hangs up
  }
  const whole = await answer;
  return whole instanceof Response ? await whole.text() : whole;
}

// The path parameter, with what earlier steps were told put in.
function path(step, told) {
  if (step.of === undefined) return [];
  return [
    step.of.replace(/\{(.+?)\}/g, (_, reference) => {
      const [name, ...fields] = reference.split(".");
      return fields.reduce((value, field) => value[field], told[name]);
    }),
  ];
}

// The method's parameters. The raw methods take them as a body.
async function parameters(step) {
  const options = { headers: step.headers };
  if (step.call === "get" || step.call === "post") return [{ ...options, body: step.with }];
  if (step.with === undefined) return [options];
  const { file, ...given } = step.with;
  return [file ? { ...given, file: await toFile(Buffer.from(file.text), file.name) } : given, options];
}

// What a caller can read from an exception.
function raised(error) {
  return { raised: error.constructor.name, status: error.status, code: error.code, param: error.param, body: error.error };
}

const [baseURL, scenario] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey: "none", maxRetries: 0, timeout: PATIENCE_MS });
const told = {};
for (const step of JSON.parse(await readFile(scenario, "utf8"))) {
  try {
    const names = step.call.split(".");
    const method = names.pop();
    const resource = names.reduce((value, name) => value[name], client);
    told[step.step] = await taken(step, resource[method](...path(step, told), ...(await parameters(step))));
  } catch (error) {
    if (!(error instanceof OpenAI.APIError) || error.status === undefined) throw error;
    told[step.step] = raised(error);
  }
}
process.stdout.write(JSON.stringify(told));

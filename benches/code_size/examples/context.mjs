// Runs the module that `context.rs` becomes: node context.mjs MODULE.wasm
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";

const module = await WebAssembly.instantiate(readFileSync(process.argv[2]), {});
const { buffer, context, memory } = module.instance.exports;
const bytes = new Uint8Array(memory.buffer, buffer(), 64);

assert.equal(context(1), 0, "zero ids make no context");
const ids = Uint8Array.from({ length: 24 }, (_, i) => i + 1);
bytes.set(ids);
assert.equal(context(0xff), 1);
assert.deepEqual(bytes.slice(24, 48), ids);
assert.equal(bytes[48], 3, "unknown flags are cleared");
console.log("context: ids there and back, zero refused, unknown flags cleared");

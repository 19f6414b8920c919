// Runs the module that `traceparent.rs` becomes: node traceparent.mjs MODULE.wasm
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";

const module = await WebAssembly.instantiate(readFileSync(process.argv[2]), {});
const { buffer, next_hop: nextHop, memory } = module.instance.exports;
const bytes = new Uint8Array(memory.buffer, buffer(), 128);

function hop(header, span) {
  new TextEncoder().encodeInto(header, bytes);
  const length = nextHop(header.length, span);
  return length && new TextDecoder().decode(bytes.slice(0, length));
}

const trace = "4bf92f3577b34da6a3ce929d0e0e4736";
assert.equal(hop(`00-${trace}-00f067aa0ba902b7-01`, 0x1122334455667788n), `00-${trace}-1122334455667788-01`);
assert.equal(hop(`00-${trace}-00f067aa0ba902b7-ff`, 1n), `00-${trace}-0000000000000001-03`, "unknown flags are cleared");
const refused = [`00-${trace.toUpperCase()}-00f067aa0ba902b7-01`, `ff-${trace}-00f067aa0ba902b7-01`,
  `00-${"0".repeat(32)}-00f067aa0ba902b7-01`, `00-${trace}-00f067aa0ba902b7-0`, ""];
for (const header of refused) assert.equal(hop(header, 1n), 0, header);
assert.equal(nextHop(4096, 1n), 0, "longer than the buffer");
console.log(`traceparent: 2 headers passed on, ${refused.length + 1} refused`);

// tools/ort_peer.js -- ONNX Runtime behind a pipe, one JSON line per request and per answer.
//
//   {"do":"load","model":PATH,"threads":N,"data":PATH,"inputs":[{"name","type","dims","at"}],"level":LEVEL}
//        -> {"ok":true,"version","load_ms","first_ms","memory"}  the session made, that and its first run; what
//           the process has grown by. Values of the inputs: the bytes at `at` of the file `data`; at < 0: zeros.
//           LEVEL: how far graphs are optimised, "disabled" to "all" (the default)
//   {"do":"run","seconds":S}  runs at least once -> {"ok":true,"ms":[...]}
//   {"do":"values","data":PATH}  -> {"ok":true,"outputs":[{"name","type","dims","at"}]}  one run; the file gets its results
'use strict';
const ort = require('onnxruntime-node');
const version = require('onnxruntime-node/package.json').version;
const arrays = {
	float32: Float32Array, float64: Float64Array, uint8: Uint8Array, int8: Int8Array, uint16: Uint16Array,
	int16: Int16Array, int32: Int32Array, uint32: Uint32Array, int64: BigInt64Array, uint64: BigUint64Array,
	bool: Uint8Array,
};
let session, feeds;

async function load(request) {
	const before = process.memoryUsage().rss, start = process.hrtime.bigint();
	session = await ort.InferenceSession.create(request.model, {
		executionProviders: ['cpu'], intraOpNumThreads: request.threads, interOpNumThreads: 1,
		graphOptimizationLevel: request.level || 'all', logSeverityLevel: 3,
	});
	const made = process.hrtime.bigint();
	const bytes = new Uint8Array(require('fs').readFileSync(request.data));
	feeds = {};
	for (const input of request.inputs) {
		const n = input.dims.reduce((a, b) => a * b, 1);
		const type = arrays[input.type];
		const size = n * type.BYTES_PER_ELEMENT;
		const data = input.at < 0 ? new type(n) : new type(bytes.slice(input.at, input.at + size).buffer);
		feeds[input.name] = new ort.Tensor(input.type, data, input.dims);
	}
	const ready = process.hrtime.bigint();
	await session.run(feeds);
	const loadMs = Number(made - start) / 1e6, runMs = Number(process.hrtime.bigint() - ready) / 1e6;
	const memory = process.memoryUsage().rss - before;
	return {ok: true, version, load_ms: loadMs, first_ms: loadMs + runMs, memory};
}

async function run(request) {
	const ms = [];
	const end = process.hrtime.bigint() + BigInt(Math.round(request.seconds * 1e9));
	let now;
	do {
		const start = process.hrtime.bigint();
		await session.run(feeds);
		now = process.hrtime.bigint();
		ms.push(Number(now - start) / 1e6);
	} while (now < end);
	return {ok: true, ms};
}

async function values(request) {
	const results = await session.run(feeds), parts = [], outputs = [];
	let at = 0;
	for (const name of session.outputNames) {
		const {type, dims, data} = results[name];
		parts.push(Buffer.from(data.buffer, data.byteOffset, data.byteLength));
		outputs.push({name, type, dims, at});
		at += data.byteLength;
	}
	require('fs').writeFileSync(request.data, Buffer.concat(parts));
	return {ok: true, outputs};
}

async function main() {
	const answers = {load, run, values};
	const lines = require('readline').createInterface({input: process.stdin});
	for await (const line of lines) {
		let answer;
		try {
			const request = JSON.parse(line);
			answer = await answers[request.do](request);
		} catch (e) {
			answer = {ok: false, error: String(e.message).split('\n')[0]};
		}
		process.stdout.write(JSON.stringify(answer) + '\n');
	}
}
main();

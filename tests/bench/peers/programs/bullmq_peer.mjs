// BullMQ: priorities, bulk adds of 500, concurrency 200; finished jobs are removed (its docs: auto-removal).
import { writeFileSync } from "node:fs";
import { createRequire } from "node:module";
const require = createRequire(process.env.BENCH_MODULES + "/");
const { Queue, Worker } = require("bullmq");
const ioredis = require("ioredis");
const Redis = ioredis.default ?? ioredis.Redis ?? ioredis;

const url = process.env.BENCH_REDIS_URL;
const BATCH = 500;
const UNDER_WAY = 4;

async function submit(jobs, seconds) {
  const queue = new Queue("bench", { connection: new Redis(url, { maxRetriesPerRequest: null }) });
  await queue.waitUntilReady();
  const options = { priority: 5, removeOnComplete: true, removeOnFail: true };
  const bulk = () => queue.addBulk(Array.from({ length: BATCH }, () => ({ name: "noop", data: {}, opts: options })));
  await bulk(); // scripts are loaded when the clock starts
  let left = jobs, done = 0;
  const begun = performance.now();
  const caller = async () => {
    while (left > 0 && performance.now() - begun < seconds * 1000) {
      left -= BATCH;
      await bulk();
      done += BATCH;
    }
  };
  await Promise.all(Array.from({ length: UNDER_WAY }, caller));
  console.log(JSON.stringify({ jobs: done + BATCH, per_s: done / ((performance.now() - begun) / 1000) }));
  process.exit(0);
}

if (process.argv[2] === "work") {
  const connection = new Redis(url, { maxRetriesPerRequest: null });
  let count = 0n;
  new Worker("bench", async () => { count += 1n; }, { connection, concurrency: 200 });
  const slot = Buffer.alloc(8);
  setInterval(() => {
    slot.writeBigUInt64LE(count);
    writeFileSync(`${process.env.BENCH_COUNTS}/${process.pid}`, slot);
  }, 20);
} else {
  await submit(Number(process.env.BENCH_JOBS), Number(process.env.BENCH_SECONDS));
}

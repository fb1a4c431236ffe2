// A TUF client by tuf-js, for one question after the other: a line of JSON in, a line of JSON out.
// Started as `node reader.mjs FOLDER`, where FOLDER holds node_modules.
import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import { join, resolve } from "node:path";

const require = createRequire(join(resolve(process.argv[2]), "package.json"));
const { Updater } = require("tuf-js");
const TrueDate = Date;

function setClock(nowMs) {
  globalThis.Date =
    nowMs === null
      ? TrueDate
      : class extends TrueDate {
          constructor(...parts) {
            super(...(parts.length ? parts : [nowMs]));
          }
          static now() {
            return nowMs;
          }
        };
}

// Node's own fetch asserts, outside of every promise, when a server ends a body that tuf-js has
// stopped reading because it was too long. The refusal is told before that, and is what counts.
process.on("uncaughtException", (error) => {
  if (error.code !== "ERR_ASSERTION") throw error;
});

let updater;

async function answer({ act, ...asked }) {
  switch (act) {
    case "open":
      setClock(asked.nowMs);
      updater = new Updater({
        metadataDir: asked.metadataDir,
        targetDir: asked.targetDir,
        metadataBaseUrl: `${asked.url}/metadata`,
        targetBaseUrl: `${asked.url}/targets`,
        config: { fetchTimeout: asked.timeoutMs, fetchRetries: 0, fetchRetry: 0 },
      });
      return {};
    case "refresh":
      await updater.refresh();
      return {};
    case "read": {
      const info = await updater.getTargetInfo(asked.path);
      if (!info) return { file: null };
      return { file: await updater.downloadTarget(info) };
    }
    default:
      throw new Error(`unknown act ${act}`);
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  let told;
  try {
    told = await answer(JSON.parse(line));
  } catch (error) {
    told = { error: `${error.constructor.name}: ${error.message}`.slice(0, 600) };
  }
  process.stdout.write(`${JSON.stringify(told)}\n`);
}

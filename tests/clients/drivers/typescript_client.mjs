// Run the job in the first argument (JSON) with @modelcontextprotocol/client 2.x; print a JSON report.

import { Client, LOG_LEVEL_META_KEY, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";

const job = JSON.parse(process.argv[2]);
const asked = [];
let logs = [];

const client = new Client(
  { name: "typescript-client", version: "2" },
  { capabilities: { elicitation: {} }, versionNegotiation: { mode: job.mode } }, // "legacy" is the default
);
client.setRequestHandler("elicitation/create", async ({ params }) => {
  asked.push(params.message);
  if (job.answer === "throw") throw new Error("the handler failed");
  return job.answer;
});
client.setNotificationHandler("notifications/message", ({ params }) => void logs.push(params.data));

const transport = new StreamableHTTPClientTransport(new URL(job.url));
await client.connect(transport);
const protocol = client.getNegotiatedProtocolVersion();
const sessionless = client.getProtocolEra() === "modern";
if (!sessionless && client.getServerCapabilities()?.logging) await client.setLoggingLevel("info");
const _meta = sessionless ? { [LOG_LEVEL_META_KEY]: "info" } : undefined;

// A call may be stopped by "cancel" at its first progress or by "time out".
async function call([name, args, givenUp]) {
  const progress = [];
  logs = [];
  const control = new AbortController();
  const onprogress = (update) => {
    progress.push([update.progress, update.total, update.message]);
    if (givenUp === "cancel") control.abort("no longer wanted");
  };
  const patience = givenUp === "time out" ? { timeout: 300 } : {};
  try {
    if (name === "tools/list") return await client.listTools();
    // Without sessions this client does not notice a lost stream, only a missing response.
    const options = { onprogress, signal: control.signal, timeout: 5_000, resetTimeoutOnProgress: !givenUp, ...patience };
    const result = await client.callTool({ name, arguments: args, _meta }, options);
    return { ...result, progress, logs };
  } catch (error) {
    return { error: error.message, code: error.code, data: error.data, progress };
  }
}

const resource = await client.readResource({ uri: "shop://products/mug-blue" });
const prompt = await client.getPrompt({ name: "order_summary", arguments: { number: "SO-1001" } });
const report = {
  protocol,
  server: client.getServerVersion()?.name,
  tools: (await client.listTools()).tools.map((tool) => tool.name),
  resources: (await client.listResources()).resources.map((found) => found.uri),
  templates: (await client.listResourceTemplates()).resourceTemplates.map((found) => found.uriTemplate),
  prompts: (await client.listPrompts()).prompts.map((found) => found.name),
  resource: resource.contents[0].text,
  prompt: prompt.messages[0].content.text,
  calls: [],
  asked,
};
for (const each of job.calls) report.calls.push(await call(each));
await new Promise((resolve) => setTimeout(resolve, job.linger)); // to observe the transport
await transport.terminateSession();
await client.close();
console.log(JSON.stringify(report));

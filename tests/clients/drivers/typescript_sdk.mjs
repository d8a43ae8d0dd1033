// Run the job in the first argument (JSON) with @modelcontextprotocol/sdk 1.x; print a JSON report.

import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { ElicitRequestSchema, LoggingMessageNotificationSchema } from "@modelcontextprotocol/sdk/types.js";

const job = JSON.parse(process.argv[2]);
const asked = [];
let logs = [];

const client = new Client(
  { name: "typescript-sdk", version: "1" },
  { capabilities: { elicitation: {} } },
);
client.setRequestHandler(ElicitRequestSchema, async ({ params }) => {
  asked.push(params.message);
  if (job.answer === "throw") throw new Error("the handler failed");
  return job.answer;
});
client.setNotificationHandler(LoggingMessageNotificationSchema, ({ params }) => void logs.push(params.data));

const transport = new StreamableHTTPClientTransport(new URL(job.url));
await client.connect(transport);
if (client.getServerCapabilities()?.logging) await client.setLoggingLevel("info");

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
    const result = await client.callTool({ name, arguments: args }, undefined, { onprogress, signal: control.signal, ...patience });
    return { ...result, progress, logs };
  } catch (error) {
    return { error: error.message, code: error.code, data: error.data, progress };
  }
}

const resource = await client.readResource({ uri: "shop://products/mug-blue" });
const prompt = await client.getPrompt({ name: "order_summary", arguments: { number: "SO-1001" } });
const report = {
  protocol: transport.protocolVersion,
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

// Serve the tools act, look and put with @modelcontextprotocol/sdk 1.x, each client in its own session.
// The first line of the output is the port; each further line is a tool that ran.

import { randomUUID } from "node:crypto";
import { createServer } from "node:http";
import { McpServer } from "@modelcontextprotocol/sdk/server/mcp.js";
import { StreamableHTTPServerTransport } from "@modelcontextprotocol/sdk/server/streamableHttp.js";
import { z } from "zod";

const HINTS = { act: {}, look: { readOnlyHint: true }, put: { idempotentHint: true } };
const sessions = new Map();

function build() {
  const server = new McpServer({ name: "typescript", version: "1" });
  for (const [name, annotations] of Object.entries(HINTS)) {
    server.registerTool(name, { inputSchema: { text: z.string() }, annotations }, async ({ text }) => {
      console.log(name);
      return { content: [{ type: "text", text }] };
    });
  }
  return server;
}

async function transportOf(request) {
  const known = sessions.get(request.headers["mcp-session-id"]);
  if (known || request.headers["mcp-session-id"]) return known;
  const transport = new StreamableHTTPServerTransport({
    sessionIdGenerator: randomUUID,
    onsessioninitialized: (id) => void sessions.set(id, transport),
  });
  await build().connect(transport);
  return transport;
}

const server = createServer(async (request, response) => {
  const transport = await transportOf(request);
  if (transport) return transport.handleRequest(request, response);
  response.writeHead(404, { "content-type": "application/json" });
  response.end('{"jsonrpc": "2.0", "error": {"code": -32001, "message": "Session not found"}, "id": null}');
});
server.listen(0, "127.0.0.1", () => console.log(server.address().port));

// The official TypeScript SDK on node:http, sessions in memory as its documentation keeps them: one server and one
// transport per session. The body is parsed once and handed over, which spares the SDK a conversion.
import { randomUUID } from 'node:crypto';
import { createServer } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { NodeStreamableHTTPServerTransport, toNodeHandler } from '@modelcontextprotocol/node';
import { createMcpHandler, McpServer } from '@modelcontextprotocol/server';
import { z } from 'zod';

const JSON_ONLY = process.env.BENCH_MODE === 'json';
const add = z.object({ a: z.number().int(), b: z.number().int() });
const count = z.object({ steps: z.number().int(), pause: z.number().default(0) });
const text = (value) => ({ content: [{ type: 'text', text: String(value) }] });

function build() {
    const server = new McpServer({ name: 'typescript', version: '1.0.0' });
    server.registerTool('add', { description: 'Add.', inputSchema: add }, async ({ a, b }) => text(a + b));
    server.registerTool('count', { description: 'Count.', inputSchema: count }, async ({ steps, pause }, ctx) => {
        const progressToken = ctx.mcpReq._meta?.progressToken;
        for (let progress = 1; progress <= steps; progress++) {
            const params = { progressToken, progress, total: steps };
            await ctx.mcpReq.notify({ method: 'notifications/progress', params });
            if (pause) await sleep(pause * 1000);
        }
        return text(steps);
    });
    return server;
}

const sessions = new Map();
const modern = toNodeHandler(createMcpHandler(build, { legacy: 'reject', responseMode: JSON_ONLY ? 'json' : 'auto' }));

async function inSession(req, res, body) {
    const id = req.headers['mcp-session-id'];
    let transport = sessions.get(id);
    if (!transport) {
        if (id) return res.writeHead(404).end();
        transport = new NodeStreamableHTTPServerTransport({
            sessionIdGenerator: randomUUID,
            enableJsonResponse: JSON_ONLY,
            onsessioninitialized: (created) => { sessions.set(created, transport); },
        });
        await build().connect(transport);
    }
    await transport.handleRequest(req, res, body);
}

async function read(req) {
    const chunks = [];
    for await (const chunk of req) chunks.push(chunk);
    return chunks.length ? JSON.parse(Buffer.concat(chunks)) : undefined;
}

createServer(async (req, res) => {
    if (!req.url.startsWith('/mcp')) return res.writeHead(404).end();
    const body = req.method === 'POST' ? await read(req) : undefined;
    await (req.headers['mcp-protocol-version'] === '2026-07-28' ? modern : inSession)(req, res, body);
}).listen(Number(process.env.PORT), '127.0.0.1', 2048);

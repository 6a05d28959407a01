// A service to sell: it repeats the question, counts its calls, and notes whether a
// payment header ever reached it.
import { createServer } from 'node:http';

export async function startUpstream() {
  const seen = { calls: 0, payments: 0 };
  const server = createServer(async (request, response) => {
    let body = '';
    for await (const chunk of request) body += chunk;
    seen.calls += 1;
    if (request.headers.authorization || request.headers['x-cashu']) seen.payments += 1;
    const answer = { call: seen.calls, asked: request.url, body };
    response.writeHead(200, { 'content-type': 'application/json' });
    response.end(JSON.stringify(answer));
  });
  await new Promise((ready) => server.listen(0, '127.0.0.1', ready));
  return {
    seen,
    url: `http://127.0.0.1:${server.address().port}`,
    stop: () => new Promise((done) => server.close(done)),
  };
}

// A service that knows nothing of tracing: run it under tracing.js. It asks DOWNSTREAM.
const http = require("node:http");

const server = http.createServer((_, response) => {
  const asked = http.get(process.env.DOWNSTREAM, (answer) => {
    response.writeHead(answer.statusCode, { "content-type": "application/json" });
    answer.pipe(response);
  });
  asked.on("error", (error) => response.writeHead(502).end(String(error)));
});
server.listen(Number(process.env.PORT), "127.0.0.1");

// @ts-nocheck: its shapes are those of the wire types, which its users check.
// The machine's shell and its serial console.
import { WebSocketServer } from 'ws';

/** Answers shells on a server; returns what ends them all. */
export function fakeShells(server) {
  const sockets = new Set();
  const shells = new WebSocketServer({
    noServer: true,
    handleProtocols: (offered) => (offered.has('alcove.v1') ? 'alcove.v1' : false),
  });
  server.on('upgrade', (request, socket, head) => {
    shells.handleUpgrade(request, socket, head, (shell) => {
      sockets.add(shell);
      shell.on('close', () => sockets.delete(shell));
      const serial = request.url?.includes('console');
      shell.send(
        Buffer.from(serial ? 'walnut-alcove login: ' : '\u001b[1;32mroot@walnut-alcove\u001b[0m:~# '),
      );
      let line = '';
      shell.on('message', (message, binary) => {
        if (!binary) return;
        for (const key of message.toString()) {
          if (key === '\r') {
            shell.send(Buffer.from('\r\n'));
            if (line === 'exit') {
              shell.send(JSON.stringify({ exit: 0 }));
              shell.close();
              return;
            }
            shell.send(
              Buffer.from(
                `${line ? `you said: ${line}\r\n` : ''}\u001b[1;32mroot@walnut-alcove\u001b[0m:~# `,
              ),
            );
            line = '';
          } else {
            line += key;
            shell.send(Buffer.from(key));
          }
        }
      });
    });
  });
  return () => {
    for (const socket of sockets) socket.terminate();
  };
}

// @ts-nocheck: its shapes are those of the wire types, which its users check.
// Logs, and those that are followed.

const lines = (source) =>
  Array.from({ length: 400 }, (_, at) =>
    at % 40 === 39
      ? `Sep 12 10:1${at % 10}:07 alcove ${source}[212]: \u001b[33mwarning\u001b[0m: retrying in ${at % 7} s`
      : `Sep 12 10:1${at % 10}:0${at % 10} alcove ${source}[212]: line ${at} of what this part of the machine says while it runs`,
  );

/** Sends logs. */
export function fakeLogs({ state, json }) {
  const followed = new Set();
  return {
    /** Writes a line into every log that is followed. */
    log: (line) => {
      for (const log of followed) log.write(`${line}\n`);
    },
    /** Breaks every log that is followed off, or ends it. */
    cut: (end = false) => {
      for (const log of followed)
        if (end) log.end();
        else log.destroy();
    },
    /** Answers a call for a log; false for other calls. */
    serve({ pathname, searchParams }, response) {
      const path = pathname.slice('/api/v1'.length);
      if (path !== '/machine/logs' && !/^\/cluster\/pods\/.*\/logs$/.test(path)) return false;
      if (state.logsFail) {
        json(response, 503, {
          code: 'guest_unreachable',
          message: 'The machine does not answer',
          hint: 'Wait a moment, or look at the serial log.',
        });
        return true;
      }
      const source = searchParams.get('source') ?? searchParams.get('container') ?? 'log';
      const previous = searchParams.get('previous') === '1';
      if (previous && !state.restarted) {
        json(response, 404, {
          code: 'not_found',
          message: 'This container has not restarted',
          hint: 'There is no earlier log.',
        });
        return true;
      }
      response.writeHead(200, { 'Content-Type': 'text/plain; charset=utf-8' });
      response.write(`${lines(previous ? `${source} before` : source).join('\n')}\n`);
      if (searchParams.get('follow') !== '1') response.end();
      else {
        followed.add(response);
        response.on('close', () => followed.delete(response));
      }
      return true;
    },
  };
}

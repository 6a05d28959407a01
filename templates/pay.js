// The page of a 402: says when its invoice is paid, then repeats the call with the
// preimage that a person pastes. Without this script the page still says how to go on.
//
// The preimage goes into one request header of this origin and nowhere else: not into
// an address, not into storage, and not back onto the page.
(() => {
  'use strict';
  const RETRY_MS = 15_000; // after the node refused a stream
  const MAX_SHOWN_BYTES = 200_000; // of an answer; more is offered as a file
  const $ = (id) => document.getElementById(id);
  const status = $('status');
  if (!status) return;

  const { events } = status.dataset;
  // By this browser's clock, whatever the node's says.
  const ends = Date.now() + Number(status.dataset.left) * 1000;
  const proof = $('proof');
  let isOver = false;
  let timer;

  function say(mark, words, more) {
    const head = document.createElement('strong');
    head.className = `mark ${mark}`;
    head.textContent = words;
    $('state').replaceChildren(head, document.createTextNode(more ? ` ${more}` : ''));
  }

  function countDown() {
    const left = Math.max(0, Math.round((ends - Date.now()) / 1000));
    const seconds = String(left % 60).padStart(2, '0');
    $('left').textContent = isOver ? '' : `${Math.floor(left / 60)}:${seconds} left to pay`;
  }

  function offerProof() {
    if (proof) proof.hidden = false;
  }

  function end(state) {
    isOver = true;
    clearInterval(timer);
    countDown();
    // Nobody should scan it now.
    document.querySelector('.way .qr')?.classList.add('over');
    status.className = `notice ${state === 'paid' ? 'good' : 'warn'}`;
    if (state === 'paid') {
      offerProof();
      say('good', 'Paid.', proof
        ? 'Your wallet shows the preimage beside this payment: paste it here, or put it into the command below.'
        : 'Your wallet shows the preimage beside this payment: put it into the command below.');
      if (proof) $('preimage').focus();
    } else {
      say('warn', 'The invoice has expired.', 'Load this page again for a fresh one, and do not pay this one.');
    }
  }

  function watch() {
    const source = new EventSource(events);
    source.addEventListener('state', (event) => {
      const { state } = JSON.parse(event.data);
      if (state === 'waiting') {
        say('muted', 'Waiting for the payment.', 'This page says when it has arrived. Keep it open: loaded again, it asks with a new invoice.');
        return;
      }
      source.close();
      end(state);
    });
    source.addEventListener('error', () => {
      // A stream that only broke off is opened again by the browser.
      if (source.readyState !== EventSource.CLOSED) return;
      say('warn', 'The node does not say now whether it is paid;', 'your wallet does. Keep this page open.');
      offerProof();
      if (Date.now() < ends) setTimeout(watch, RETRY_MS);
    });
  }

  function detailOf(text) {
    try {
      return JSON.parse(text).detail ?? text;
    } catch {
      return text;
    }
  }

  function sayAnswer(mark, words, text) {
    const shown = $('answer');
    shown.hidden = false;
    const head = $('answered');
    head.className = `mark ${mark}`;
    head.textContent = words;
    $('body').textContent = text;
    $('body').hidden = text === '';
  }

  function offerFile(blob) {
    const file = $('file');
    URL.revokeObjectURL(file.href);
    file.href = URL.createObjectURL(blob);
    file.hidden = false;
  }

  async function repeat(preimage) {
    const authorization = `L402 ${proof.dataset.macaroon}:${preimage}`;
    const answer = await fetch(location.href, {
      headers: { accept: 'application/json, text/*;q=0.9, */*;q=0.8', authorization },
      cache: 'no-store',
      credentials: 'omit',
    });
    const blob = await answer.blob();
    $('file').hidden = true;
    if (!answer.ok) {
      sayAnswer('warn', `Not delivered (${answer.status})`, detailOf(await blob.slice(0, MAX_SHOWN_BYTES).text()));
      return;
    }
    const left = Number(answer.headers.get('x-uses-remaining'));
    const rest = left > 0 ? `; the payment is good for ${left} more` : '';
    const isText = /^(text\/|application\/([a-z.-]+\+)?(json|xml))/.test(blob.type);
    const isShown = isText && blob.size <= MAX_SHOWN_BYTES;
    sayAnswer('good', `Delivered${rest}`, isShown ? await blob.text() : '');
    if (!isShown) offerFile(blob);
  }

  proof?.addEventListener('submit', async (event) => {
    event.preventDefault();
    const field = $('preimage');
    const preimage = field.value.trim();
    const button = proof.querySelector('button');
    button.disabled = true;
    try {
      await repeat(preimage);
    } catch {
      sayAnswer('warn', 'No answer', 'The node could not be reached. The same preimage works again.');
    } finally {
      button.disabled = false;
    }
  });

  countDown();
  timer = setInterval(countDown, 1000);
  watch();
})();

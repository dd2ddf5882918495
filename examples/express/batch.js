// The batch endpoint for Express, beside the route that takes one event. `save(event, request)` keeps an event unless its id
// is known (insert … on conflict do nothing), and says whether it was new.
"use strict";

exports.progressBatch = (save) => (request, response) => {
  const answer = { accepted: [], duplicates: [], failed: [] };
  for (const event of request.body.events) {
    if (event.userId !== request.session.user) {
      answer.failed.push({ id: event.clientEventId, reason: "validation_error" });
    } else {
      (save(event, request) ? answer.accepted : answer.duplicates).push(event.clientEventId);
    }
  }
  response.json(answer);
};

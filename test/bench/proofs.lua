-- Requests that are each good once: a form and a DPoP proof a line, with a tab between.
-- Arguments: Authorization header (not used), file. Prints what the orchestrator reads: answers other than 200.
bad = 0
local threads = {}
local requests = {}
local n = 0
function setup(thread) table.insert(threads, thread) end
function init(args)
  for line in io.lines(args[2]) do
    local form, proof = string.match(line, "^(.-)\t(.*)$")
    local headers = { ["Content-Type"] = "application/x-www-form-urlencoded", ["DPoP"] = proof }
    table.insert(requests, wrk.format("POST", nil, headers, form))
  end
  bad = 0
end
function request()
  n = n % #requests + 1
  return requests[n]
end
function response(status) if status ~= 200 then bad = bad + 1 end end
function done(summary, latency)
  local wrong = 0
  for _, thread in ipairs(threads) do wrong = wrong + thread:get("bad") end
  local errors = summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout
  print(string.format('JSON {"requests":%d,"us":%d,"bad":%d,"errors":%d,"p50":%d,"p99":%d}', summary.requests,
    summary.duration, wrong, errors, latency:percentile(50), latency:percentile(99)))
end

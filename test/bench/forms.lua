-- Forms in turn, with client_secret_basic; a right answer is 200 and says that a token is active, or brings one.
-- Arguments: Authorization header, file with one form a line. Prints what the orchestrator reads.
bad = 0
shed = 0
local threads = {}
local requests = {}
local n = 0
function setup(thread) table.insert(threads, thread) end
function init(args)
  local headers = { ["Content-Type"] = "application/x-www-form-urlencoded", ["Authorization"] = args[1] }
  for form in io.lines(args[2]) do table.insert(requests, wrk.format("POST", nil, headers, form)) end
  bad = 0
  shed = 0
end
function request()
  n = n % #requests + 1
  return requests[n]
end
function response(status, headers, body)
  local right = string.find(body, '"active":true', 1, true) or string.find(body, '"access_token"', 1, true)
  if status ~= 200 or not right then bad = bad + 1 end
  if status == 503 and headers["Retry-After"] ~= nil then shed = shed + 1 end
end
function done(summary, latency)
  local wrong, told = 0, 0
  for _, thread in ipairs(threads) do
    wrong = wrong + thread:get("bad")
    told = told + thread:get("shed")
  end
  local errors = summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout
  print(string.format('JSON {"requests":%d,"us":%d,"bad":%d,"shed":%d,"errors":%d,"p50":%d,"p99":%d}', summary.requests,
    summary.duration, wrong, told, errors, latency:percentile(50), latency:percentile(99)))
end

-- Like post.lua, with another client address in every request, so that no cached decision fits.
bad = 0
local threads = {}
local n = 0
function setup(thread) table.insert(threads, thread) end
function init(args)
  headers = { ["Content-Type"] = "application/x-www-form-urlencoded", ["Authorization"] = args[1] }
  body = args[2]
end
function request()
  n = n + 1
  headers["X-Forwarded-For"] = string.format("10.%d.%d.%d", math.floor(n / 65536) % 256, math.floor(n / 256) % 256, n % 256)
  return wrk.format("POST", nil, headers, body)
end
function response(status) if status ~= 200 then bad = bad + 1 end end
function done(summary)
  local wrong = 0
  for _, thread in ipairs(threads) do wrong = wrong + thread:get("bad") end
  local errors = summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout
  print(string.format('JSON {"requests":%d,"us":%d,"bad":%d,"errors":%d,"p50":0,"p99":0}', summary.requests,
    summary.duration, wrong, errors))
end

/** Returns the text of a metrics port. */
export async function scrapeText(port: number): Promise<string> {
  const response = await fetch(`http://127.0.0.1:${port}/metrics`);
  if (response.status !== 200) throw new Error(`the metrics port answered ${response.status}`);
  return response.text();
}

/** Returns its samples, `name{labels}` to value. */
export async function scrape(port: number): Promise<Map<string, number>> {
  const samples = (await scrapeText(port)).split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  return new Map(samples.map((line) => [line.replace(/ [^ ]+$/, ''), Number(line.split(' ').at(-1))]));
}

package docker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
)

// Fetched is how far an image is fetched, as far as its layers are known.
type Fetched struct{ Done, Total int64 } // bytes

// Pull has the daemon fetch an image of a repository by tag or digest, and calls
// progress as it goes. What the daemon has of it already is not fetched again.
func (c *Client) Pull(ctx context.Context, repository, reference string, progress func(Fetched)) error {
	resp, err := c.open(ctx, http.MethodPost, "/images/create", url.Values{"fromImage": {repository}, "tag": {reference}})
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	layers := make(map[string]Fetched)
	for d := json.NewDecoder(resp.Body); ; {
		var e struct {
			ID             string `json:"id"`
			Status         string `json:"status"`
			Error          string `json:"error"`
			ProgressDetail struct{ Current, Total int64 }
		}
		err := d.Decode(&e)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("docker: pull: %w", errors.Join(ErrDown, err))
		case e.Error != "":
			return errors.New(e.Error)
		}
		l := layers[e.ID]
		switch e.Status {
		case "Downloading":
			l = Fetched{e.ProgressDetail.Current, e.ProgressDetail.Total}
		case "Download complete", "Pull complete":
			l.Done = l.Total
		default:
			continue
		}
		layers[e.ID] = l
		var sum Fetched
		for _, l := range layers {
			sum.Done, sum.Total = sum.Done+l.Done, sum.Total+l.Total
		}
		progress(sum)
	}
}
